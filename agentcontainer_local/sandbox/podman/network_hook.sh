#!/bin/sh
# OCI createRuntime hook: network_hook.sh ERRORS GATEWAY RESOLVER SUBNET RANGE...
# Closes the new network namespace of a container with internet, before its first process runs: only the resolver's port 53 and public
# IPv4 addresses stay open.  The container cannot undo it (no CAP_NET_ADMIN).  Any failure here stops the start.
# Runs in Podman's user namespace and in the host's network namespace.  The RANGEs come last: where they are seen, all before them is there.
# An OCI runtime reports the exit code alone.  What went wrong is left in the directory ERRORS, in a file named after the container.
# Protocols are numbers: /etc/protocols, which has their names, is missing on minimal machines.
set -eu
errors=$1 gateway=$2 resolver=$3 subnet=$4
shift 4
state=$(cat)
id=$(printf %s "$state" | sed -n 's/.*"id": *"\([A-Za-z0-9]*\)".*/\1/p')
exec 2>"$errors/$id.error"
pid=$(printf %s "$state" | sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p')
own=$(ip -o -4 addr show | awk '$4 !~ /^127\./ { sub("/.*", "", $4); print $4 }')
near=$(ip -o -4 route show proto kernel scope link | awk '{ print $1 }')

if [ -e /proc/net/if_inet6 ]; then
    nsenter --target "$pid" --net ip -6 rule add pref 1 unreachable
fi
{
    echo "route replace $resolver via $gateway"
    echo "rule add pref 1 to $resolver ipproto 17 dport 53 lookup main"
    echo "rule add pref 1 to $resolver ipproto 6 dport 53 lookup main"
    echo "rule add pref 2 to $resolver unreachable"
    echo "rule add pref 2 to $subnet unreachable"
    for closed in $near $own "$@"; do
        [ "$closed" = "$subnet" ] || echo "route replace unreachable $closed"
    done
} | nsenter --target "$pid" --net ip -4 -batch -
rm -f "$errors/$id.error"
