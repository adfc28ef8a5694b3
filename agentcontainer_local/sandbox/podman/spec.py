"""The values that describe a container and its limits."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

GIB = 1024**3


LimitName = Literal["memory", "processes", "disk", "disk_full"]


@dataclass(frozen=True)
class Bind:
    """A file or directory of the host, mounted read-only."""

    source: str
    target: str


@dataclass(frozen=True)
class Mounted:
    """A named volume, mounted read-write. Files that the image has at that path are not copied into it."""

    name: str
    target: str


@dataclass(frozen=True)
class Ulimits:
    """Limits per process. Only `processes` counts per uid, which means per run, because each run has its own uid."""

    open_files: int = 65536
    file_bytes: int = 16 * GIB
    processes: int = 4096
    data_bytes: int | None = None  # private memory


@dataclass(frozen=True)
class ContainerSpec:
    name: str
    image: str
    command: tuple[str, ...]
    uid: int
    env: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    binds: tuple[Bind, ...] = ()
    volumes: tuple[Mounted, ...] = ()
    network: Literal["none", "internet"] = "none"
    hostname: str = "agent"
    isolation: str = "container"  # one of resource_limits.LEVELS
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    ulimits: Ulimits = Ulimits()
    shm_bytes: int = 64 * 1024**2
    log_bytes: int = 4 * 1024**2


By = Literal["cgroup", "affinity", "ulimit", "watchdog", "ulimit and watchdog", "nothing"]


@dataclass(frozen=True)
class Created:
    """`limits`: what enforces each limit on this machine, by `memory`, `cpus`, `processes`, `open_files`, `disk`.

    The watchdog enforces limits only while `watching` is open.
    """

    id: str
    warnings: tuple[str, ...]
    limits: dict[str, By]


@dataclass(frozen=True)
class Ceiling:
    """The limits for all processes of a container together. The watchdog reports when one is exceeded."""

    memory_bytes: int
    processes: int
    disk_bytes: int


@dataclass(frozen=True)
class Broken:
    """An exceeded limit. `used` is None if the kernel acted before the usage was measured.

    `disk_full`: the container kept its own limit, but the disk is nearly full and this container uses most of it.
    """

    limit: LimitName
    used: int | None
    allowed: int


State = Literal["created", "running", "exited", "lost"]


@dataclass(frozen=True)
class Found:
    """A container of this store. `running`: verified in /proc. `lost`: it ran, but its end was not recorded."""

    id: str
    name: str
    labels: dict[str, str]
    state: State
    pid: int | None
    exit_code: int | None
    created_at: datetime


@dataclass(frozen=True)
class Volume:
    name: str
    labels: dict[str, str]
    created_at: datetime
    folder: str  # its path on the host


@dataclass(frozen=True)
class Image:
    id: str
    names: tuple[str, ...]
    labels: dict[str, str]
    size_bytes: int
    env: dict[str, str]
