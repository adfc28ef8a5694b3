"""Every setting of the server, written once: each field makes a flag of `serve` and an AGENTCONTAINER_… variable."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator

PREFIX = "AGENTCONTAINER_"
GIB = 1024**3


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("data", "cache", "prices_file", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Where it was named: Podman works elsewhere, and so may the server."""
        return path and path.absolute()

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(3000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("agentcontainer")),
        description="Data directory: the database, the files, the key that encrypts provider keys.",
    )
    cache: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("agentcontainer")),
        description="Where the runtime (Node, Pi, the guest's programs) is kept, shared by all data directories.",
    )
    public_url: str | None = Field(None, description="Base of the URLs in answers; by default what the client asked.")
    host_names: str = Field("", description="Other names that it may be asked by (the Host header), with commas.")
    max_requests_per_second: int = Field(2000, ge=1, description="Of one API key; more are refused with 429.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged to stderr.")
    log_format: Literal["text", "json"] = Field("text", description="How: one line of text or of JSON an event.")

    max_running: int = Field(4, ge=0, description="Tasks that have a container at the same time; 0: none is started.")
    max_pending: int = Field(1000, ge=1, description="Tasks that may wait; more are refused with 429.")
    idle_seconds: int = Field(60, ge=0, description="How long an idle conversation keeps its running container.")
    max_body_bytes: int = Field(10 * 1024**2, ge=1024, description="Largest JSON body of a request.")
    max_file_bytes: int = Field(2 * GIB, ge=1, description="Largest file that is taken in, from a client or an agent.")
    max_output_files: int = Field(1000, ge=1, description="Most files that one finish may hand over.")
    max_output_bytes: int = Field(10 * GIB, ge=1, description="Most bytes that one finish may hand over.")
    file_quota_bytes: int | None = Field(None, ge=1, description="Most bytes of files; by default the disk's size.")
    checkpoint_quota_bytes: int | None = Field(
        None, ge=1, description="Bytes of kept workspaces from which on no agent may hibernate and no chat may start.")
    upload_ttl_seconds: int = Field(3600, ge=1, description="How long a prepared upload is open.")
    workspace_retention_seconds: int = Field(0, ge=0, description="How long an ended task's workspace is kept.")
    retention_days: int = Field(0, ge=0, description="Days after which an ended task's events and files go; 0: never.")
    retention_bytes: int | None = Field(
        None, ge=1, description="Bytes of ended tasks' outputs that are kept; beyond that the oldest go.")
    min_free_percent: float = Field(5, ge=0, le=100, description="Of the disk: with less free, no new work is taken.")

    task_memory_mb: int = Field(4096, ge=256, description="Memory of a task that asks for none (MB of 1024 * 1024).")
    task_cpus: float | None = Field(None, gt=0, description="Processors of a task that asks for none; by default all.")
    task_processes: int = Field(2048, ge=64, description="Processes and threads of a task that asks for none.")
    task_open_files: int = Field(65536, ge=256, description="Open files of each process of a task that asks for none.")
    task_workspace_mb: int = Field(10240, ge=16, description="What a task that asks for none may write to disk (MB).")
    isolation: Literal["container", "gvisor"] = Field("container", description="The least that any task is isolated.")

    billing: Literal["unlimited", "prepaid"] = Field("unlimited", description="Whether container time is charged.")
    credit: float = Field(0, ge=0, description="USD granted to the account when the data directory is made (prepaid).")

    podman_socket: str | None = Field(None, description="A running Podman API service; by default one is started.")
    oci_runtime: str | None = Field(None, description="OCI runtime for Podman; by default the one that fits.")
    max_events: int = Field(200_000, ge=1000, description="Most things that one run may report; more ends its task.")
    max_event_bytes: int = Field(GIB, ge=1024**2, description="Most bytes of them; more ends its task.")
    prices_file: Path | None = Field(None, description="A table of model prices, in the place of the package's own.")
    provider_idle_seconds: int = Field(
        300, ge=1, description="How long a provider may be silent within a call, or an agent not read its answer.")


def variable(field: str) -> str:
    """`max_running` → `AGENTCONTAINER_MAX_RUNNING`."""
    return PREFIX + field.upper()


def from_environment(environ: Mapping[str, str] = os.environ, **flags) -> Settings:
    """Settings from flags (those not None), else variables, else defaults; raises pydantic's ValidationError."""
    given = {name: environ[variable(name)] for name in Settings.model_fields if environ.get(variable(name))}
    return Settings(**{**given, **{name: value for name, value in flags.items() if value is not None}})
