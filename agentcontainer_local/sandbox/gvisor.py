"""gVisor: a container whose programs speak to a kernel of their own, by the distribution's `runsc`."""

import shutil
from pathlib import Path

from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.spec import By, ContainerSpec

RUNTIME = "agentcontainer-gvisor"
# Rootless: no cgroups of its own, and no raw network. The door is a unix socket of the host's. KVM is not asked for:
# a /dev/kvm that is there need not work, and ptrace works everywhere.
FLAGS = "--ignore-cgroups --network=none --platform=ptrace --host-uds=open"


def write_runtime(directory: Path) -> dict[str, str]:
    """The runtime under its name for containers.conf, which takes a program but no flags; none without runsc."""
    if not (runsc := shutil.which("runsc")):
        return {}
    program = directory / "runsc"
    program.write_text(f'#!/bin/sh\nexec {runsc} {FLAGS} "$@"\n')
    program.chmod(0o700)
    return {RUNTIME: str(program)}


def request(spec: ContainerSpec) -> dict:
    """The part of a create request that chooses the runtime; raises SandboxError rather than isolate less."""
    if spec.isolation == "container":
        return {}
    if not shutil.which("runsc"):
        raise SandboxError("gVisor is asked for, and is not installed here: as root, run `apt-get install runsc`")
    if spec.network != "none":
        raise SandboxError("gVisor has no walled internet here: its own network would pass by the closed routes")
    return {"oci_runtime": RUNTIME}


def processes_by(spec: ContainerSpec) -> By:
    """Its kernel has one user for all containers on the host, and does not count processes by ulimit."""
    return "watchdog" if spec.isolation == "gvisor" else "ulimit and watchdog"
