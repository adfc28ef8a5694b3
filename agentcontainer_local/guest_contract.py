"""Paths and ports in the container of every run (guest contract, version 1); `guest_runtime/paths.mjs` has them too."""

MOUNT = "/opt/agentcontainer"  # node, Pi and our commands, read-only
RUN = "/run/agentcontainer"  # launch.json and the socket of the door
STATE = "/var/lib/agentcontainer"  # Pi's settings and sessions, kept from run to run
WORKSPACE = "/workspace"
GATEWAY_PORT = 7411
EGRESS_PORT = 7412
