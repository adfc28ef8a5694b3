#!/bin/sh
# remove_store.sh STORE RUN_DIRECTORY REGISTRY: removes all that a store has in Podman and beside it, when no server has it
# open. Plain shell, because it also runs when a test's process was killed, and then within two seconds. Killed in the
# middle, or run twice, it does no harm.
store=$1 run_directory=$2 registry=$3
label=label=agentcontainer.store=$store
if [ -f "$run_directory/containers.conf" ]; then export CONTAINERS_CONF="$run_directory/containers.conf"; fi

with_words() { # the processes with these words in their command line
    grep -lzsF -e "$1" /proc/[0-9]*/cmdline | cut -d/ -f3
}

# Podman's service is told to end with the server, but what it is at may still become a container.
for pid in $(with_words "unix://$run_directory/podman.sock"); do kill -KILL "$pid" 2>/dev/null; done

for _ in 1 2 3; do # a container that ends by itself at this moment is not removed
    failed=
    containers=$(podman ps --all --quiet --filter "$label") || failed=yes
    if [ -n "$containers" ]; then podman rm --force --time 0 --volumes $containers >/dev/null || failed=yes; fi
    volumes=$(podman volume ls --quiet --filter "$label") || failed=yes
    if [ -n "$volumes" ]; then podman volume rm $volumes >/dev/null || failed=yes; fi
    if [ -z "$failed" ]; then break; fi
done

# A service that was killed while it started a container leaves what Podman does not know of.
for pid in $(with_words "agentcontainer-$store-"); do
    kill -KILL $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) "$pid" 2>/dev/null
done

rm -rf -- "$run_directory"
rm -f -- "$registry/stores/$store" "$registry/disks/$store"
find "$registry/uids" -lname "*/$store.*" -delete 2>/dev/null
[ -z "$failed" ]
