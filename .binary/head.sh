#!/bin/sh
# @NAME@: a program and all that it needs, as an archive below these lines.
# It is unpacked once, and this process becomes the program.
set -eu
case $0 in /*) self=$0 ;; *) self=$PWD/$0 ;; esac
# What root runs is where nobody else can write.
if [ "$(id -u)" = 0 ]; then
    cache=/var/cache/agentcontainer
else
    cache=${AGENTCONTAINER_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/agentcontainer}
fi
home=$cache/program/@DIGEST@

unpack() (
    umask 022
    mkdir -p "$cache/program"
    part=$(mktemp -d "$cache/program/.part-XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 130' INT TERM HUP
    tail -c +@OFFSET@ "$self" | tar -xzf - -C "$part" || { echo "$self is not whole, or $cache is full" >&2; exit 1; }
    mv -T "$part/agentcontainer" "$home" 2>/dev/null || [ -d "$home" ]
    # Former versions are removed, unless one runs: then it holds its folder.
    for old in "$cache"/program/*; do
        [ "$old" = "$home" ] || flock -n "$old" rm -rf "$old" 2>/dev/null || true
    done
    find "$cache/program" -maxdepth 1 -name '.part-*' -mmin +60 -exec rm -rf {} +
)

[ -d "$home" ] || unpack
exec 9<"$home"
flock -s 9 2>/dev/null || true
export AGENTCONTAINER_PROGRAM="$self"
exec "$home/lib/@LOADER@" --library-path "$home/lib" "$home/agentcontainer" "$@"
