"""Every setting of the server, written once: each field makes a flag of `serve` and an AGENTCONTAINER_… variable."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from agentcontainer_local.environment import variable

GIB = 1024**3
ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+")  # as browsers write it: in small letters, without a path


def _words(given: object) -> object:
    """A variable holds several with commas or spaces between them; a flag is given several times."""
    return tuple(given.replace(",", " ").split()) if isinstance(given, str) else given


def _networks(text: str) -> str:
    """As uvicorn reads them: raises ValueError for what is no address and no network."""
    return ",".join(str(ipaddress.ip_network(one.strip(), strict=False)) for one in text.split(",") if one.strip())


def _origins(given: tuple[str, ...]) -> tuple[str, ...]:
    for one in given:
        if not ORIGIN.fullmatch(one):
            raise ValueError(f"{one!r} is not an origin: give scheme, host and port, like https://app.example.org")
    return given


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("data", "cache", "prices_file", "record", "replay", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Where it was named: Podman works elsewhere, and so may the server."""
        return path and path.absolute()

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(3000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("agentcontainer")),
        description="Data directory: database, files, and the key that encrypts provider keys.",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("agentcontainer")),
        description="Folder for Node, Pi and the guest's programs. All data directories share it.",
    )
    public_url: str | None = Field(
        None, description="Address that clients use, for URLs in answers. By default the one in the request."
    )
    host_names: str = Field("", description="Further host names of this server, separated by commas.")
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "",
        description="Addresses or networks of trusted reverse proxies, separated by commas. Their X-Forwarded-For"
        " and X-Forwarded-Proto headers are used.",
    )
    cors_origin: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_origins)] = Field(
        (), description="Web origin whose pages may call the API, like https://app.example.org; repeatable."
    )
    max_requests_per_second: int = Field(
        2000, ge=1, description="Maximum requests per second of one API key. Above it, the answer is 429."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity of log messages on stderr."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log format: one line of text, or of JSON, per event."
    )

    max_running: int = Field(4, ge=0, description="Maximum number of running containers; 0 starts none.")
    warm: int = Field(
        1,
        ge=0,
        le=100,
        description="Number of containers that wait, with the agent up, for the next task; 0: none.",
    )
    max_pending: int = Field(1000, ge=1, description="Maximum number of waiting tasks. Above it, the answer is 429.")
    idle_seconds: int = Field(60, ge=0, description="Seconds that an idle conversation keeps its container running.")
    max_body_bytes: int = Field(10 * 1024**2, ge=1024, description="Maximum size of a request's JSON body, in bytes.")
    max_file_bytes: int = Field(
        2 * GIB, ge=1, description="Maximum size of a file from a client or an agent, in bytes."
    )
    max_output_files: int = Field(1000, ge=1, description="Maximum number of files in one `finish`.")
    max_output_bytes: int = Field(10 * GIB, ge=1, description="Maximum size of all files in one `finish`, in bytes.")
    file_quota_bytes: int | None = Field(
        None, ge=1, description="Maximum size of all stored files, in bytes. By default only the disk limits it."
    )
    checkpoint_quota_bytes: int | None = Field(
        None,
        ge=1,
        description="Size of kept workspaces, in bytes, above which no agent may hibernate and no chat may start.",
    )
    upload_ttl_seconds: int = Field(3600, ge=1, description="Seconds that a prepared upload stays open.")
    workspace_retention_seconds: int = Field(0, ge=0, description="Seconds that an ended task's workspace is kept.")
    failed_workspace_retention_seconds: int = Field(
        86_400,
        ge=0,
        description="Seconds that a failed task's workspace is kept. A nearly full disk removes it earlier.",
    )
    retention_days: int = Field(
        0, ge=0, description="Days after which an ended task's events and files are deleted; 0: never."
    )
    retention_bytes: int | None = Field(
        None, ge=1, description="Maximum size of ended tasks' output files, in bytes. Above it, the oldest are deleted."
    )
    min_free_percent: float = Field(
        5, ge=0, le=100, description="Free disk space, in percent, below which new work is refused."
    )

    task_memory_mb: int = Field(4096, ge=256, description="Memory, in MB of 1024 * 1024 bytes.")
    task_cpus: float | None = Field(None, gt=0, description="Processors. By default all.")
    task_processes: int = Field(2048, ge=64, description="Number of processes and threads.")
    task_open_files: int = Field(65536, ge=256, description="Number of open files of each process.")
    task_workspace_mb: int = Field(10240, ge=16, description="Disk space, in MB of 1024 * 1024 bytes.")
    isolation: Literal["container", "gvisor"] = Field("container", description="Minimum isolation of every task.")

    hosted_only: Literal["off", "refuse", "warn"] = Field(
        "off",
        description="What to do with operations and fields that the hosted service does not have: `refuse` them, or"
        " `warn` by a response header and a log line. Without a value: refuse.",
    )

    billing: Literal["unlimited", "prepaid"] = Field("unlimited", description="Whether container time is charged.")
    credit: float = Field(0, ge=0, description="Initial credit of a new data directory, in US dollars (for prepaid).")

    backend: Literal["podman", "simulated"] = Field(
        "podman", description="Where agents run. `simulated` plays them without containers, for tests."
    )
    scheduler: Literal["slurm"] | None = Field(
        None, description="Engine that places runs on other machines. By default all agents run on this one."
    )
    scheduler_options: str = Field(
        "", description="Options for every job of the engine, like --partition=agents (for --scheduler)."
    )
    node_listen: str | None = Field(
        None,
        pattern=r"^[^\s:]*:\d{1,5}$|^\[[0-9a-fA-F:.]+\]:\d{1,5}$",
        description="ADDRESS:PORT on which nodes reach this server (for --scheduler). Close it to all others.",
    )
    checkpoint_seconds: int = Field(
        120,
        ge=0,
        description="Seconds between two copies of a running agent's workspace, for a run that loses its node; 0: none"
        " (for --scheduler).",
    )
    node_command: str = Field("agentcontainer", description="How this program is called on a node (for --scheduler).")
    podman_socket: str | None = Field(
        None, description="Socket of a running Podman API service. By default the server starts one."
    )
    oci_runtime: str | None = Field(None, description="OCI runtime for Podman. By default a suitable one is chosen.")
    max_events: int = Field(
        200_000, ge=1000, description="Maximum number of events of one run. A task that exceeds it fails."
    )
    max_event_bytes: int = Field(
        GIB, ge=1024**2, description="Maximum size of a run's events, in bytes. A task that exceeds it fails."
    )
    prices_file: Path | None = Field(None, description="Table of model prices that replaces the built-in one.")
    record: Path | None = Field(
        None, description="Directory for recordings of tasks' model calls, one file for each task."
    )
    replay: Path | None = Field(
        None, description="Directory of recordings that answer model calls. No provider is asked, and no key is needed."
    )
    replay_mode: Literal["strict", "loose"] = Field(
        "strict",
        description="Which recorded answer a call gets. `strict`: that of the same request; another request fails."
        " `loose`: the next one.",
    )
    replay_pace: Literal["fast", "recorded"] = Field(
        "fast", description="Whether recorded answers come at once, or as slowly as they did."
    )
    provider_idle_seconds: int = Field(300, ge=1, description="Seconds of silence after which a model call is ended.")


def from_environment(environ: Mapping[str, str] = os.environ, **flags: Any) -> Settings:
    """Settings from flags (those not None), else variables, else defaults; raises pydantic's ValidationError."""
    given = {name: environ[variable(name)] for name in Settings.model_fields if environ.get(variable(name))}
    return Settings(**{**given, **{name: value for name, value in flags.items() if value not in (None, [])}})
