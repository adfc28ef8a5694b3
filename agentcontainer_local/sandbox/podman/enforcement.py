"""Applies a run's limits to its container, and records what enforces each limit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentcontainer_local import resource_limits as limits
from agentcontainer_local.resource_limits import MB, Limits
from agentcontainer_local.sandbox import backend, podman

# The cgroup's limit is this much above the run's limit, so that the watchdog can see that a container exceeds it.
SPARE_PROCESSES = 64
# Without a memory cgroup, a process can grow by this much in the second between two checks of the watchdog. With less,
# a program would fail to allocate memory before the watchdog could report the limit.
SPARE_DATA_MB = 4096
FIELDS = {"memory": "memory_mb", "disk": "workspace_mb"}  # names in Ceiling → fields of Limits


def around(spec: podman.ContainerSpec, most: Limits, isolation: str) -> podman.ContainerSpec:
    """The container with the limits applied. Raises Unsupported if this machine can't isolate it like that."""
    limits.require(isolation, spec.network != "none")
    ulimits = replace(
        spec.ulimits,
        open_files=most.open_files,
        file_bytes=most.workspace_mb * MB,
        data_bytes=(most.memory_mb + SPARE_DATA_MB) * MB,
    )
    return replace(
        spec,
        isolation=isolation,
        memory_bytes=most.memory_mb * MB,
        cpus=most.cpus,
        pids=most.processes + SPARE_PROCESSES,
        ulimits=ulimits,
    )


def ceiling(most: Limits) -> podman.Ceiling:
    return podman.Ceiling(most.memory_mb * MB, most.processes, most.workspace_mb * MB)


def record(spec: podman.ContainerSpec, most: Limits, created: podman.Created) -> Mapping[str, Any]:
    """How this machine enforces the limits, with Podman's warnings."""
    by = {FIELDS.get(name, name): how for name, how in created.limits.items()}
    values = {**most.on_the_wire(), "openFiles": podman.at_most("nofile", most.open_files)}
    return {
        "isolation": spec.isolation,
        "network": spec.network,
        "limits": {wire: {"value": values[wire], "by": by[name]} for name, (wire, _) in limits.NAMES.items()},
        "warnings": created.warnings,
    }


def broken(found: podman.Broken) -> backend.Broken:
    unit = 1 if found.limit == "processes" else MB
    used = None if found.used is None else found.used // unit
    return backend.Broken(FIELDS.get(found.limit, found.limit), used, found.allowed // unit)
