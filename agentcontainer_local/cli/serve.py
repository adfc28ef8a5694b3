"""`agentcontainer serve`: every setting is a flag of it."""

import gc
import inspect
import os
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from agentcontainer_local import __version__, logs, service_account
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import JsonFlag, ending, faults
from agentcontainer_local.settings import Settings, from_environment, variable

if TYPE_CHECKING:
    from agentcontainer_local.app import Program
    from agentcontainer_local.cli.output import Output


def settings_of(**flags: str | None) -> Settings:
    """Raises Stop for what makes no sense."""
    try:
        return from_environment(os.environ, **flags)
    except ValidationError as error:
        words = faults(error, lambda name: f"--{name.replace('_', '-')} ({variable(name)})")
        raise Stop(Exit.WRONG_USE, words) from None


def as_service_account(settings: Settings) -> Settings:
    """Root hands over to an account without rights: rootless Podman is the wall that agents are behind."""
    if os.getuid() != 0:
        return settings
    service_account.become(settings.data if "data" in settings.model_fields_set else None)
    return settings_of(**{name: getattr(settings, name) for name in settings.model_fields_set})


def serve(json: bool, **flags: str | None) -> None:
    """Serve the API until stopped. SIGTERM leaves running agents at work for the next start; Ctrl-C suspends them.
    With --json, a line when it is ready says where it is."""
    with ending(json) as out:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)       # until it serves there is nothing to clear away
        settings = as_service_account(settings_of(**flags))
        logs.start(settings.log_level, settings.log_format == "json")
        gc.disable()            # what is imported stays: looking through it for rubbish would take a fifth of the time
        import uvloop  # here, so that the other commands start quickly

        from agentcontainer_local import app as program

        gc.freeze()
        gc.enable()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))    # the soft one is for programs that use select(2)
        uvloop.run(program.serve(settings, os.environ, lambda ready, url: _ready(out, ready, url)))


def _ready(out: "Output", program: "Program", url: str) -> None:
    _announce(out, program, url)
    if address := os.environ.get("NOTIFY_SOCKET"):      # a unit of Type=notify has started from here on: sd_notify(3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)


def _announce(out: "Output", program: "Program", url: str) -> None:
    """To people, or as one line of JSON. A key that is new is said this once."""
    data, given = program.host.settings.data, os.environ.get("AGENTCONTAINER_API_KEY")
    new_key = program.new_key if program.new_key != given else None
    if out.as_json:
        out.line({"url": url, "dataDirectory": str(data), "pid": os.getpid(), "version": __version__,
                  "apiKey": new_key})
        return
    if new_key:
        print(f"API key (shown this once): {new_key}")
    print(f"agentcontainer {__version__} is ready at {url}  (data: {data})")
    key = "$AGENTCONTAINER_API_KEY" if given else new_key or "YOUR_KEY"
    print(f'Try: curl -H "Authorization: Bearer {key}" {url}/api/v1/agents', flush=True)


def _kind(annotation: object) -> str:
    """What a flag takes: `NUMBER`, `PATH`, `TEXT`, or its words."""
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    kinds = {annotation, *get_args(annotation)}
    return "NUMBER" if kinds & {int, float} else "PATH" if Path in kinds else "TEXT"


def _about(name: str, field: FieldInfo) -> str:
    """What a setting is for, its variable, and what holds where nothing is said."""
    default = f", by default {field.default}" if field.default_factory is None and field.default else ""
    return f"{field.description} [{variable(name)}{default}]"


def _with_settings() -> inspect.Signature:
    """Every setting as a flag."""
    flags = {name: Annotated[str | None, typer.Option(metavar=_kind(field.annotation), help=_about(name, field))]
             for name, field in Settings.model_fields.items()}
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature([
        *(inspect.Parameter(name, kind, default=None, annotation=flag) for name, flag in flags.items()),
        inspect.Parameter("json", kind, default=False, annotation=JsonFlag),
    ])


serve.__signature__ = _with_settings()
