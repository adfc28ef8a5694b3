"""`agentcontainer serve`: each setting is a flag."""

import gc
import inspect
import ipaddress
import os
import resource
import signal
import socket
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from agentcontainer_local.cli import ephemeral as for_tests
from agentcontainer_local.cli import flags, help
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.lines import Lines
from agentcontainer_local.cli.session import JsonFlag, ending, signed
from agentcontainer_local.environment import API_KEY, variable
from agentcontainer_local.process import build, logs, service_account
from agentcontainer_local.settings import Settings, from_environment

if TYPE_CHECKING:
    from typer._click.core import Context

    from agentcontainer_local.app import Program


EphemeralFlag = Annotated[
    bool,
    typer.Option(
        "--ephemeral",
        help="For tests: serve an empty store on a free port, print its URL and API key as one line of JSON, and remove"
        " everything at the end. Runs are simulated unless --backend podman is given.",
    ),
]

SeedFlag = Annotated[
    str | None,
    typer.Option(
        "--seed",
        metavar="TEXT",
        help="With --ephemeral: ids, keys and dates are the same in each run, and the clock stands still until"
        " POST /testing/clock/advance moves it.",
    ),
]


def settings_of(**given: str | None) -> Settings:
    """Raises Stop, naming the flag and the variable, if a setting is not valid."""
    try:
        return from_environment(os.environ, **given)
    except ValidationError as error:
        from agentcontainer_local.schemas import faults

        named = {name: f"--{name.replace('_', '-')} ({variable(name)})" for name in Settings.model_fields}
        raise Stop(Exit.WRONG_USE, flags.explained("", faults.found(error), named)) from None


def as_service_account(settings: Settings) -> Settings:
    """Switches from root to an unprivileged account, because isolation relies on rootless Podman. Simulated runs need
    no isolation, so they keep the user."""
    if os.getuid() != 0 or settings.backend == "simulated":
        return settings
    service_account.become(settings.data if "data" in settings.model_fields_set else None)
    return settings_of(**{name: getattr(settings, name) for name in settings.model_fields_set})


def serve(json: bool, ephemeral: bool, seed: str | None, **flags: str | None) -> None:
    """Run the server. SIGTERM stops the server and leaves its agents running; the next server finds them. Ctrl-C
    suspends the agents until the next start. With --json, one line of JSON says when the server is ready."""
    with ending(json, output=Lines) as out:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until it serves, there is nothing to clean up
        if seed is not None and not ephemeral:
            raise Stop(Exit.WRONG_USE, "--seed is for a server for tests. Add --ephemeral.")
        if ephemeral:
            for_tests.check(flags)
            flags = {"backend": os.environ.get(variable("backend")) or "simulated", **_given(flags)}
        settings = as_service_account(settings_of(**flags))
        logs.start(settings.log_level, settings.log_format == "json")
        if ephemeral:
            for_tests.serve(settings, seed)
        else:
            _serve(settings, out)


def _serve(settings: Settings, out: Lines) -> None:
    gc.disable()  # imported objects stay in memory; searching them for garbage would take a fifth of the start-up time
    import uvloop  # imported here, so that the other commands start quickly

    from agentcontainer_local import app as program

    gc.freeze()
    gc.enable()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # the low soft limit exists for programs that use select(2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(program.serve(settings, os.environ, lambda ready, url: _ready(out, ready, url)))


def _given(flags: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in flags.items() if value is not None}


def _ready(out: Lines, program: "Program", url: str) -> None:
    _announce(out, program, url)
    if address := os.environ.get("NOTIFY_SOCKET"):  # sd_notify(3): a unit of Type=notify counts as started from here on
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)


def _announce(out: Lines, program: "Program", url: str) -> None:
    """Prints the address, as text or JSON. A new key is shown only here. `url`: where the server listens."""
    settings, given = program.host.settings, os.environ.get(API_KEY, "").strip()
    new_key = program.new_key if program.new_key != given else None
    public = (settings.public_url or reachable(url)).rstrip("/")
    if out.as_json:
        out.line(
            {
                "url": public,
                "listening": url,
                "dataDirectory": str(settings.data),
                "pid": os.getpid(),
                "version": build.version(),
                "backend": settings.backend,
                "apiKey": new_key,
            }
        )
        return
    if new_key:
        print(f"API key (shown this once): {new_key}")
    print(f"agentcontainer {build.version()} is ready at {public}  (data: {settings.data})")
    if reachable(url) != public:
        print(f"Listening on {url}")
    if settings.backend == "simulated":
        print("Runs are simulated: no container and no Pi is started, and agents' commands are not run.")
    if settings.hosted_only != "off":
        verb = "refused" if settings.hosted_only == "refuse" else "marked"
        print(f"Operations and fields that the hosted service does not have are {verb}.")
    if settings.record:
        print(f"Model calls are recorded in {settings.record}")
    if settings.replay:
        print(f"Model calls are answered from {settings.replay}")
    print(f"Page: {public}/  (sign in with the API key)")
    key = f"${API_KEY}" if given else new_key or "YOUR_KEY"
    print(f'Try: curl -H "Authorization: Bearer {key}" {public}/api/v1/agents', flush=True)
    if not is_private(settings.host):
        out.note(
            f"Warning: the server listens on {settings.host} without TLS, so API keys travel unencrypted. Put a"
            " reverse proxy with TLS before it, or listen on 127.0.0.1.",
            "yellow",
        )


def reachable(url: str) -> str:
    """The address for a browser on this machine: 0.0.0.0 and :: stand for all addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:")


def is_private(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _kind(annotation: object) -> str:
    """A flag's value for the help: `NUMBER`, `PATH`, `TEXT`, or its choices."""
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    kinds = {annotation, *get_args(annotation)}
    return "NUMBER" if kinds & {int, float} else "PATH" if Path in kinds else "TEXT"


def _taken(annotation: object) -> object:
    """The type of a flag for Typer: one text, or several if it can be repeated. `Settings` converts them."""
    return list[str] | None if get_origin(annotation) is tuple else str | None


def _about(name: str, field: FieldInfo) -> str:
    """A setting's help: description, variable and default."""
    default = f"; by default {field.default}" if field.default_factory is None and field.default else ""
    return f"{field.description} [{variable(name)}{default}]"


def _with_settings() -> inspect.Signature:
    """The signature with each setting as a flag."""
    flags = {
        name: Annotated[
            _taken(field.annotation), typer.Option(metavar=_kind(field.annotation), help=_about(name, field))
        ]
        for name, field in Settings.model_fields.items()
    }
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            *(inspect.Parameter(name, kind, default=None, annotation=flag) for name, flag in flags.items()),
            inspect.Parameter("ephemeral", kind, default=False, annotation=EphemeralFlag),
            inspect.Parameter("seed", kind, default=None, annotation=SeedFlag),
            inspect.Parameter("json", kind, default=False, annotation=JsonFlag),
        ]
    )


signed(serve, _with_settings())


class Command(help.Command):
    """The command with its flags in groups. Settings without a group are listed under `Options`."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Supports a flag whose value may be left out, which Typer does not."""
        values = [*get_args(Settings.model_fields["hosted_only"].annotation)]
        bare = [arg == "--hosted-only" and after not in values for arg, after in zip_longest(args, args[1:])]
        given = ["--hosted-only=refuse" if is_bare else arg for is_bare, arg in zip(bare, args, strict=True)]
        return super().parse_args(ctx, given)

    groups = {
        "Address": (
            "host",
            "port",
            "public_url",
            "host_names",
            "trusted_proxies",
            "cors_origin",
            "max_requests_per_second",
        ),
        "Data": ("data", "cache"),
        "Work at the same time": ("max_running", "max_pending", "idle_seconds", "warm"),
        "Limits of a task, where it sets none": (
            "task_memory_mb",
            "task_cpus",
            "task_processes",
            "task_open_files",
            "task_workspace_mb",
            "isolation",
        ),
        "Limits of requests and files": (
            "max_body_bytes",
            "max_file_bytes",
            "max_output_files",
            "max_output_bytes",
            "max_events",
            "max_event_bytes",
            "upload_ttl_seconds",
        ),
        "Disk": (
            "file_quota_bytes",
            "checkpoint_quota_bytes",
            "workspace_retention_seconds",
            "failed_workspace_retention_seconds",
            "retention_days",
            "retention_bytes",
            "min_free_percent",
        ),
        "Models": ("prices_file", "provider_idle_seconds"),
        "API": ("hosted_only",),
        "Recordings": ("record", "replay", "replay_mode", "replay_pace"),
        "Billing": ("billing", "credit"),
        "Log": ("log_level", "log_format"),
        "Where agents run": ("backend", "podman_socket", "oci_runtime"),
        "More than one machine": (
            "scheduler",
            "scheduler_options",
            "node_listen",
            "checkpoint_seconds",
            "node_command",
        ),
    }


def add_to(app: help.App) -> None:
    app.command("serve", cls=Command, example=("serve", "serve --port 0 --json", "serve --max-running 8"))(serve)
