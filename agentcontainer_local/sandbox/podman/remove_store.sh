#!/bin/sh
# remove_store.sh STORE RUN_DIRECTORY REGISTRY: removes everything that a store has outside its data directory: containers,
# volumes, the run directory and registry entries. No server may have the store open. It is plain shell because it also
# runs after a test's process was killed, and then has two seconds. It may be interrupted and run again.
store=$1 run_directory=$2 registry=$3
label=label=agentcontainer.store=$store
if [ -f "$run_directory/containers.conf" ]; then export CONTAINERS_CONF="$run_directory/containers.conf"; fi

with_words() { # prints the pids of processes with this text in their command line
    grep -lzsF -e "$1" /proc/[0-9]*/cmdline | cut -d/ -f3
}

# Podman's service ends with the server, but a request in progress could still create a container, so kill it first.
for pid in $(with_words "unix://$run_directory/podman.sock"); do kill -KILL "$pid" 2>/dev/null; done

for _ in 1 2 3; do # removal fails for a container that ends by itself at this moment
    failed=
    containers=$(podman ps --all --quiet --filter "$label") || failed=yes
    if [ -n "$containers" ]; then podman rm --force --time 0 --volumes $containers >/dev/null || failed=yes; fi
    volumes=$(podman volume ls --quiet --filter "$label") || failed=yes
    if [ -n "$volumes" ]; then podman volume rm $volumes >/dev/null || failed=yes; fi
    if [ -z "$failed" ]; then break; fi
done

# A service that was killed while it started a container leaves processes that Podman does not know.
for pid in $(with_words "agentcontainer-$store-"); do
    kill -KILL $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) "$pid" 2>/dev/null
done

rm -rf -- "$run_directory"
rm -f -- "$registry/stores/$store" "$registry/disks/$store"
find "$registry/uids" -lname "*/$store.*" -delete 2>/dev/null
[ -z "$failed" ]
