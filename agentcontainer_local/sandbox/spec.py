"""What a container is made from, as values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

GIB = 1024**3


@dataclass(frozen=True)
class Bind:
    """A file or directory of the host, mounted read-only."""

    source: str
    target: str


@dataclass(frozen=True)
class Mounted:
    """A named volume, mounted read-write; what the image has at that path is not copied into it."""

    name: str
    target: str


@dataclass(frozen=True)
class Ulimits:
    """Per process, but for processes, which are counted per uid (so per run, as each run has its own)."""

    open_files: int = 65536
    file_bytes: int = 16 * GIB
    processes: int = 4096


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
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None
    ulimits: Ulimits = Ulimits()
    shm_bytes: int = 64 * 1024**2
    log_bytes: int = 4 * 1024**2


@dataclass(frozen=True)
class Created:
    id: str
    warnings: tuple[str, ...]


State = Literal["created", "running", "exited", "lost"]


@dataclass(frozen=True)
class Found:
    """A container of this store. `running` was seen in /proc; `lost`: it ran, and its end was not recorded."""

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


@dataclass(frozen=True)
class Image:
    id: str
    names: tuple[str, ...]
    labels: dict[str, str]
    size_bytes: int
    env: dict[str, str]
