#!/bin/sh
# OCI createRuntime hook: network_hook.sh ERRORS GATEWAY RESOLVER SUBNET RANGE...
# Restricts the network of a container with internet access before its first process runs: only port 53 of the resolver
# and public IPv4 addresses can be reached. The container can't undo it (no CAP_NET_ADMIN). If this fails, so does the start.
# Runs in Podman's user namespace and in the host's network namespace. The RANGEs are added last: if they are present, so
# is everything else.
# An OCI runtime reports only the exit code, so the error message goes into the directory ERRORS, in a file named after
# the container.
# Protocols are numbers, because /etc/protocols, which has their names, is missing on minimal machines.
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
