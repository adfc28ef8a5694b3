"""`agentcontainer serve`: every setting is a flag of it."""

import asyncio
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from pydantic import ValidationError

from agentcontainer_local import __version__, logs, service_account
from agentcontainer_local.cli import exits
from agentcontainer_local.settings import Settings, from_environment, variable


def with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Gives a command every setting as a flag, and hands it the settings that come of flags and environment."""

    def wrapped(**flags):
        command(settings_of(**flags))

    wrapped.__doc__ = command.__doc__
    wrapped.__signature__ = inspect.Signature([
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None,
            annotation=Annotated[str | None, typer.Option(help=f"{field.description} [{variable(name)}]")],
        )
        for name, field in Settings.model_fields.items()
    ])
    return wrapped


def settings_of(**flags: str | None) -> Settings:
    """Raises Exit, with words on stderr, for what makes no sense."""
    try:
        return from_environment(os.environ, **flags)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0])
            print(f"--{name.replace('_', '-')} ({variable(name)}): {fault['msg']}", file=sys.stderr)
        raise typer.Exit(exits.WRONG_USE) from None


def serve(settings: Settings) -> None:
    """Serve the API until stopped. SIGTERM leaves running agents at work for the next start; Ctrl-C suspends them."""
    settings = as_service_account(settings)
    logs.start(settings.log_level, settings.log_format == "json")
    from agentcontainer_local import app as program  # here, so that the other commands start quickly
    from agentcontainer_local.errors import Problem
    from agentcontainer_local.sandbox import SandboxError

    try:
        asyncio.run(program.serve(settings, os.environ, _announce))
    except (RuntimeError, SandboxError, Problem) as error:
        print(f"agentcontainer: {error}", file=sys.stderr)
        raise typer.Exit(exits.FAILED) from None


def _announce(program, url: str) -> None:
    if program.new_key and program.new_key != os.environ.get("AGENTCONTAINER_API_KEY"):
        print(f"API key (shown this once): {program.new_key}")
    print(f"agentcontainer {__version__} is ready at {url}  (data: {program.host.settings.data})")
    key = "$AGENTCONTAINER_API_KEY" if os.environ.get("AGENTCONTAINER_API_KEY") else program.new_key or "YOUR_KEY"
    print(f'Try: curl -H "Authorization: Bearer {key}" {url}/api/v1/agents', flush=True)


def as_service_account(settings: Settings) -> Settings:
    """Root hands over to an account without rights: rootless Podman is the wall that agents are behind."""
    if os.getuid() != 0:
        return settings
    try:
        service_account.become(settings.data if "data" in settings.model_fields_set else None)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(exits.FAILED) from None
    return settings_of(**{name: getattr(settings, name) for name in settings.model_fields_set})


command = with_settings(serve)
