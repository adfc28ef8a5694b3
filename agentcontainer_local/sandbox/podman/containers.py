"""Containers: create, start, watch, end and find them. A start verifies the isolation."""

import asyncio
import contextlib
import json
import os
import resource
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.sandbox.errors import ImageMissing, Refusal, SandboxError, Unwalled
from agentcontainer_local.sandbox.podman import containers_conf, cpu_affinity, gvisor, network, processes
from agentcontainer_local.sandbox.podman.libpod import Libpod
from agentcontainer_local.sandbox.podman.spec import By, ContainerSpec, Created, Found, State

STORE = "agentcontainer.store"
CPUS = "agentcontainer.cpus"
ENDED = ("exited", "stopped")
REMOVALS = 5
NEVER = -62135596800  # the year 1, which Podman reports for "not yet"


class Containers:
    def __init__(self, api: Libpod, store_id: str):
        self._api = api
        self._gvisor = gvisor.Gvisor(api.service)
        self.store_id = store_id
        self._controllers: frozenset[str] | None = None
        self._driver: str | None = None
        self._made: dict[str, tuple[str, int]] = {}  # by name: id, and the number of the service process that made it
        # what `inspect` said of the last one at its start, for `watching`, which follows
        self._started: dict[str, Any] = {}

    async def create(self, spec: ContainerSpec) -> Created:
        """Creates a container, or nothing. Raises ImageMissing, and SandboxError if the name is taken."""
        limits, kept_by = await self._limits(spec)
        body = _request(spec) | limits | network.namespace(spec.network, await self._network_driver(spec))
        body["labels"] = {**spec.labels, STORE: self.store_id}
        if self._api.service.seccomp is not None:
            body["seccomp_profile_path"] = str(self._api.service.seccomp)
        if kept_by["cpus"] == "affinity":
            body["annotations"][CPUS] = str(spec.cpus)
        try:
            api = await self._gvisor.api(spec) if spec.isolation == "gvisor" else self._api
            maker = api.service.started
            answer = await api.call("POST", "/containers/create", body=body, again=False)
        # Podman cleans up after itself; and with status 409 the name belongs to another container
        except Refusal as said:
            raise _explained(said, spec) from said
        except BaseException:
            await self._undo(spec.name)
            raise
        if api is self._api:
            self._made[spec.name] = answer.body["Id"], maker
        return Created(answer.body["Id"], tuple(answer.body.get("Warnings") or ()), kept_by)

    async def start(self, container_id: str, seen: dict[str, Any] | None = None) -> int:
        """Starts the container if it does not run yet. Returns the pid of its first process on the host.

        `seen`: the result of `inspect`, if the caller has it; {} for a new container. The network is checked between
        init and start, before any program of the container runs. On failure a new container is removed; one that has
        run before is only stopped, because it has data.
        """
        undo = self._undo
        try:
            before = await self.inspect(container_id) if seen is None else seen
            if before and before["State"]["Status"] in ENDED:
                undo = self._halt
                await self._previous_end_cleaned_up(before["Id"])
            await self._initialized(container_id)
            found = (await self._api.call("GET", f"/containers/{container_id}/json")).body
            pid = int(found["State"]["Pid"])
            noted = annotations(found)
            gvisor.prove(found, noted.get(gvisor.ANNOTATION, "container"))
            network.prove(pid, noted.get(network.ANNOTATION, "none"))
            if CPUS in noted:
                cpu_affinity.confine(pid, float(noted[CPUS]), [pid])
            await self._api.call("POST", f"/containers/{container_id}/start")
        except BaseException:
            await undo(container_id)
            raise
        self._started = found
        return pid

    async def _initialized(self, container_id: str) -> None:
        try:
            await self._api.call("POST", f"/containers/{container_id}/init")
        except Refusal as said:
            if (found := await self.inspect(container_id)) is None:
                raise
            error = await asyncio.to_thread(network.hook_error, self._api.service.hooks, found["Id"])
            if not error:
                raise
            raise Unwalled(
                f"internet access is refused here: the container's network could not be closed ({error}). "
                "`agentcontainer doctor` checks what that needs."
            ) from said

    async def _previous_end_cleaned_up(self, container_id: str, seconds: float = 5) -> None:
        """Waits until the cleanup of its previous end is complete."""
        for _ in range(int(seconds / 0.02)):
            if not await asyncio.to_thread(processes.being_cleaned_up, container_id):
                return
            await asyncio.sleep(0.02)

    async def _halt(self, container: str) -> None:
        with contextlib.suppress(SandboxError):
            await to_the_end(self.stop(container, 0))

    async def stop(self, container_id: str, timeout: int = 10) -> None:
        """Sends SIGTERM, then SIGKILL after `timeout` seconds. Keeps the container. Does nothing if it has ended."""
        params = {"timeout": timeout}
        path = f"/containers/{container_id}/stop"
        await self._api.call("POST", path, params=params, expect=(404,), patient=True, seconds=timeout + 60)

    async def remove(self, container_id: str) -> None:
        """Kills and removes the container, by id or name. Does nothing if it is gone."""
        params = {"force": "true", "timeout": "0", "v": "true"}
        for left in reversed(range(REMOVALS)):
            try:
                await self._api.call("DELETE", f"/containers/{container_id}", params=params, expect=(404,))
                break
            # it ended by itself while Podman was about to kill it; one in 16 removals at that moment fails so
            except Refusal as said:
                if "container state improper" not in str(said) or not left:
                    raise
        if not self._one_service_knows_all_of(container_id):
            await self.end_strays(container_id)

    def _one_service_knows_all_of(self, container: str) -> bool:
        """Whether one service process made the container and still runs. Only a service that ended can leave stray
        processes, and searching for them takes time."""
        name = next((name for name, (id, _) in self._made.items() if container in (name, id)), None)
        if name is None:
            return False
        _, maker = self._made.pop(name)
        return self._api.service.ours and maker == self._api.service.started

    async def end_strays(self, container_id: str) -> None:
        """Ends processes that Podman does not know of, for example after its runtime directory was removed."""
        await asyncio.to_thread(processes.end_strays, container_id)

    async def exited(self, pid: int) -> None:
        """Returns when that process has ended. `pid` is from `start` or `found`."""
        await processes.exited(pid)

    def kill(self, pid: int) -> None:
        """Ends a container's first process, and with it all others, without Podman. `pid` as for `exited`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def inspect(self, container_id: str) -> dict[str, Any] | None:
        answer = await self._api.call("GET", f"/containers/{container_id}/json", expect=(404,))
        return None if answer.status == 404 else answer.body

    async def exit_code(self, container_id: str, seconds: float = 3) -> int | None:
        """The exit code of an ended container, once Podman has recorded it. None: unknown, as for `lost`."""
        for _ in range(int(seconds / 0.02)):
            found = await self.inspect(container_id)
            if found is None or found["State"]["Status"] in ("created", "configured"):
                return None
            if found["State"]["Status"] in ENDED:
                return int(found["State"]["ExitCode"])
            await asyncio.sleep(0.02)
        return None

    async def found(self) -> list[Found]:
        """Every container of this store."""
        filters = json.dumps({"label": [f"{STORE}={self.store_id}"]})
        answer = await self._api.call("GET", "/containers/json", params={"all": "true", "filters": filters})
        return [_found(row) for row in answer.body or ()]

    async def network_serves(self, container_id: str) -> bool:
        """Whether the process behind a running container's network is alive; True if it has no network.

        That process can be killed alone, together with its cgroup. Then the container's network does not answer, or is
        gone.
        """
        return await self.network_works(await self.inspect(container_id) or {})

    async def network_works(self, found: dict[str, Any]) -> bool:
        """The same for the result of `inspect`."""
        if annotations(found).get(network.ANNOTATION, "none") == "none":
            return True
        namespace = found["NetworkSettings"].get("SandboxKey")
        return not namespace or bool(await asyncio.to_thread(processes.network_servers, namespace))

    async def logs_tail(self, container_id: str, max_bytes: int = 4096) -> str:
        """The end of the first process's stderr; empty if there is none, or no container."""
        found = await self.inspect(container_id)
        path = found and found["HostConfig"]["LogConfig"].get("Path")
        return await asyncio.to_thread(_stderr_tail, Path(path), max_bytes) if path else ""

    async def _undo(self, container: str) -> None:
        with contextlib.suppress(SandboxError):
            await to_the_end(self.remove(container))

    async def _network_driver(self, spec: ContainerSpec) -> str | None:
        if spec.network == "internet" and self._driver is None:
            version = (await self._api.call("GET", "/version")).body["Version"]
            self._driver = network.driver(version)
        return self._driver

    async def _limits(self, spec: ContainerSpec) -> tuple[dict[str, Any], dict[str, By]]:
        """The limits that cgroups can enforce on this machine, and what enforces each limit."""
        wanted = {
            "memory": spec.memory_bytes and {"limit": spec.memory_bytes, "swap": spec.memory_bytes},
            "cpu": spec.cpus and {"period": 100_000, "quota": int(spec.cpus * 100_000)},
            "pids": spec.pids and {"limit": spec.pids},
        }
        # gVisor runs with --ignore-cgroups, because it fails where it may not write them, as here.
        delegated = await self._delegated() if spec.isolation == "container" else frozenset()
        limits = {name: limit for name, limit in wanted.items() if limit and name in delegated}
        kept_by: dict[str, By] = {
            "memory": "cgroup" if "memory" in limits else "watchdog",
            "cpus": "cgroup" if "cpu" in limits else "affinity" if spec.cpus else "nothing",
            "processes": "cgroup" if "pids" in limits else gvisor.processes_by(spec),
            "open_files": "ulimit",
            "disk": "watchdog",
        }
        return {"resource_limits": limits}, kept_by

    async def _delegated(self) -> frozenset[str]:
        """The available cgroup controllers. On cgroup v2, a limit without its controller makes the start fail; on v1
        rootless Podman has none."""
        if not containers_conf.cgroups_are_v2():
            return frozenset()
        if self._controllers is None:
            self._controllers = containers_conf.session_controllers()
        if self._controllers is None:
            info = (await self._api.call("GET", "/info")).body
            self._controllers = frozenset(info["host"].get("cgroupControllers") or ())
        return self._controllers


def annotations(inspected: dict[str, Any]) -> dict[str, str]:
    return inspected.get("Config", {}).get("Annotations") or {}


def written_paths(inspected: dict[str, Any]) -> list[str]:
    """The paths on the host that a container writes to: its volumes, and its own layer."""
    volumes = [mount["Source"] for mount in inspected.get("Mounts") or () if mount["Type"] == "volume"]
    layer = ((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    return [*volumes, *([layer] if layer else [])]


def _request(spec: ContainerSpec) -> dict[str, Any]:
    """The parts of the request that are the same for every image."""
    return {
        "name": spec.name,
        "image": spec.image,
        "entrypoint": [spec.command[0]],
        "command": list(spec.command[1:]),
        "env": spec.env,
        "unsetenvall": True,  # variables of the image could keep our first process from starting
        "httpproxy": False,  # Podman's default copies our proxy variables into the container, with their passwords
        "work_dir": spec.workdir,
        "hostname": spec.hostname,
        "user": f"{spec.uid}:{spec.uid}",  # gid 0 in the container would be the account's own group
        "cap_drop": ["all"],
        "no_new_privileges": True,
        "mask": ["/proc/kallsyms"],  # has kernel addresses if kernel.kptr_restrict is 0
        "init": True,
        "systemd": "false",
        "stop_signal": 15,
        "image_volume_mode": "ignore",  # VOLUME instructions would leave volumes without a name behind
        "healthconfig": {"Test": ["NONE"]},  # a health check of the image would run through systemd timers
        "annotations": {network.ANNOTATION: spec.network, gvisor.ANNOTATION: spec.isolation},
        "mounts": [_bind(bind.source, bind.target) for bind in spec.binds],
        "volumes": [
            {"Name": volume.name, "Dest": volume.target, "Options": _volume_options(spec)} for volume in spec.volumes
        ],
        "shm_size": spec.shm_bytes,
        "r_limits": _ulimits(spec),
        "log_configuration": {"driver": "k8s-file", "size": spec.log_bytes},
    }


def _volume_options(spec: ContainerSpec) -> list[str]:
    """Volume options. Podman passes `nocopy` on to the OCI runtime, and runsc rejects it."""
    return [*(["nocopy"] if spec.isolation == "container" else []), "nosuid", "nodev"]


def _bind(source: str, target: str) -> dict[str, Any]:
    options = ["ro", "rbind", "rprivate", "nosuid", "nodev"]
    return {"type": "bind", "source": source, "destination": target, "options": options}


ULIMITS = {
    "nofile": resource.RLIMIT_NOFILE, "fsize": resource.RLIMIT_FSIZE, "nproc": resource.RLIMIT_NPROC,
    "core": resource.RLIMIT_CORE, "data": resource.RLIMIT_DATA,
}  # fmt: skip


def _ulimits(spec: ContainerSpec) -> list[dict[str, Any]]:
    """The ulimits. `pids` is among them, for machines without the pids cgroup."""
    wanted = {
        "nofile": spec.ulimits.open_files,
        "fsize": spec.ulimits.file_bytes,
        "nproc": spec.pids or spec.ulimits.processes,
        "core": 0,
        "data": spec.ulimits.data_bytes,
    }
    most = {name: at_most(name, value) for name, value in wanted.items() if value is not None}
    return [{"type": name, "soft": value, "hard": value} for name, value in most.items()]


def at_most(ulimit: str, value: int) -> int:
    """The value, limited to our own hard limit, because a higher one is an error at start."""
    ceiling = resource.getrlimit(ULIMITS[ulimit])[1]
    return value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)


def _explained(said: Refusal, spec: ContainerSpec) -> SandboxError:
    if any(words in str(said) for words in ("image not known", "no such image", "No such image")):
        return ImageMissing(f"the image {spec.image} is not here: pull or build it first")
    return said


def _found(row: dict[str, Any]) -> Found:
    state, pid = _state(row)
    return Found(
        id=row["Id"],
        name=row["Names"][0],
        labels=row.get("Labels") or {},
        state=state,
        pid=pid,
        exit_code=row["ExitCode"] if state == "exited" else None,
        created_at=datetime.fromisoformat(row["Created"]),
    )


def _state(row: dict[str, Any]) -> tuple[State, int | None]:
    """The state and pid. Ended: from Podman. Running: from /proc. After a reboot, Podman reports a container that ran
    as `created`, but with a start time."""
    said = row["State"]
    if said in ENDED:
        return "exited", None
    if said in ("created", "configured"):
        return ("created" if row["StartedAt"] == NEVER else "lost"), None
    pid = row.get("Pid") or 0
    if pid and processes.conmon_of(pid, row["Id"]):
        return ("created" if said == "initialized" else "running"), pid
    return "lost", None


def _stderr_tail(path: Path, max_bytes: int) -> str:
    """The last lines of stderr. A line of the log is `TIME stderr F text`; P instead of F: the line continues."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8 * max_bytes - 4096))
            rows = [line.split(b" ", 3) for line in log.read().splitlines()]
    except OSError:
        return ""
    parts = [row[3] + (b"\n" if row[2] == b"F" else b"") for row in rows if len(row) == 4 and row[1] == b"stderr"]
    return b"".join(parts)[-max_bytes:].decode(errors="replace").strip()
