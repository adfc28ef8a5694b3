# Starts one of our commands, without the variables of the image: one of them could keep Node from starting.
# An image need have nothing but /bin/sh, so this uses no other program.
# The image or the agent may have set these for every shell.
set +eu
here=${0%/*}
IFS='
'
set -f
for line in $(export -p); do
  case $line in
    "export "*) name=${line#export } ;;
    "declare -x "*) name=${line#declare -x } ;;
    *) continue ;; # a later line of a value
  esac
  name=${name%%=*}
  case $name in
    AC_* | IFS | here | program | [0-9]* | *[!A-Za-z0-9_]*) ;;
    *) unset "$name" ;;
  esac
done
NODE_COMPILE_CACHE=/opt/agentcontainer/cache/compile exec "$here/../libexec/node" "$here/../guest/$program.mjs" "$@"
