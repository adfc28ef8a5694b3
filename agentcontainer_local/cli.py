"""The `agentcontainer` command."""

import asyncio
import inspect
import logging
import os
import sys
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from agentcontainer_local import __version__, service_account
from agentcontainer_local.settings import Settings, from_environment, variable

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
                  help="The AgentContainer API on this machine.")
keys = typer.Typer(no_args_is_help=True, help="API keys of this data directory.")
providers = typer.Typer(no_args_is_help=True, help="Model providers: keys and base URLs that tasks use by default.")
app.add_typer(keys, name="keys")
app.add_typer(providers, name="providers")

EXIT_WRONG_USE = 2


def _flags() -> list[inspect.Parameter]:
    """One option for each setting, with its variable; None means that it was not given."""
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None,
            annotation=Annotated[Optional[str], typer.Option(help=f"{field.description} [{variable(name)}]")],  # noqa: UP045
        )
        for name, field in Settings.model_fields.items()
    ]


def _with_settings(command):
    """Gives a command every setting as a flag, and hands it the settings that come of flags and environment."""

    def wrapped(**flags):
        command(_settings(**flags))

    wrapped.__doc__ = command.__doc__
    wrapped.__signature__ = inspect.Signature(_flags())
    return wrapped


def _settings(**flags) -> Settings:
    try:
        return from_environment(os.environ, **flags)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0])
            print(f"--{name.replace('_', '-')} ({variable(name)}): {fault['msg']}", file=sys.stderr)
        raise typer.Exit(EXIT_WRONG_USE) from None


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False):
    if version:
        print(__version__)
        raise typer.Exit


def serve(settings: Settings) -> None:
    """Serve the API until stopped. SIGTERM leaves running agents at work for the next start; Ctrl-C suspends them."""
    settings = _as_service_account(settings)
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for chatty in ("apscheduler", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from agentcontainer_local import app as program  # here, so that the other commands start quickly

    _exit_with_message(lambda: asyncio.run(program.serve(settings, os.environ, _announce)))


app.command(name="serve")(_with_settings(serve))


def _announce(program, url: str) -> None:
    if program.new_key and program.new_key != os.environ.get("AGENTCONTAINER_API_KEY"):
        print(f"API key (shown this once): {program.new_key}")
    print(f"agentcontainer {__version__} is ready at {url}  (data: {program.host.settings.data})")
    key = "$AGENTCONTAINER_API_KEY" if os.environ.get("AGENTCONTAINER_API_KEY") else program.new_key or "YOUR_KEY"
    print(f'Try: curl -H "Authorization: Bearer {key}" {url}/api/v1/agents', flush=True)


def _as_service_account(settings: Settings) -> Settings:
    """Root hands over to an account without rights: rootless Podman is the wall that agents are behind."""
    if os.getuid() != 0:
        return settings
    try:
        service_account.become(settings.data if "data" in settings.model_fields_set else None)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    return _settings(**{name: getattr(settings, name) for name in settings.model_fields_set})


def _exit_with_message(work) -> None:
    from agentcontainer_local.errors import Problem
    from agentcontainer_local.sandbox import SandboxError

    try:
        work()
    except (RuntimeError, SandboxError, Problem) as error:
        print(f"agentcontainer: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


ProviderName = Enum("ProviderName", {name: name for name in ("anthropic", "openai", "openrouter")})
Data = Annotated[Optional[Path], typer.Option(help="Data directory [AGENTCONTAINER_DATA].")]  # noqa: UP045


def _store(data: Path | None):
    """The database of a data directory, beside a server that may be running, and its one account."""
    from agentcontainer_local import db

    settings = _as_service_account(_settings(data=data))
    if not (path := settings.data / "agentcontainer.db").exists():
        print(f"There is no data directory at {settings.data}; `agentcontainer serve` makes it.", file=sys.stderr)
        raise typer.Exit(1)
    store = db.open(path)
    return settings, store, db.row(store, "SELECT * FROM accounts ORDER BY created_at LIMIT 1")


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="What it is for.")] = "default", data: Data = None):
    """Make an API key; it is printed this once, alone on stdout."""
    from agentcontainer_local import accounts

    _, store, account = _store(data)
    _, key = accounts.create_key(store, account["id"], name, datetime.now(UTC))
    print(key)


@keys.command("list")
def list_keys(data: Data = None):
    """Show the API keys, by name and last characters."""
    from agentcontainer_local import accounts

    _, store, account = _store(data)
    table = Table("id", "name", "ends in", "made", "revoked")
    for key in accounts.keys(store, account["id"], 1000, 0, True):
        table.add_row(key["id"], key["name"], key["hint"], key["created_at"], key["revoked_at"] or "")
    Console().print(table)


@keys.command("revoke")
def revoke_key(id: str, data: Data = None):
    """Make an API key useless, at once."""
    from agentcontainer_local import accounts

    _, store, account = _store(data)
    _exit_with_message(lambda: accounts.revoke_key(store, account["id"], id, datetime.now(UTC)))


@providers.command("set")
def set_provider(
    provider: ProviderName,
    base_url: Annotated[Optional[str], typer.Option(help="Where it is, as the vendor's SDK takes it.")] = None,  # noqa: UP045
    default: Annotated[bool, typer.Option("--default", help="What tasks use that name no provider.")] = False,
    data: Data = None,
):
    """Store a provider's API key, read from stdin so that it is in no history."""
    from agentcontainer_local import accounts, schemas
    from agentcontainer_local.vault import Vault

    key = (typer.prompt("API key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()).strip()
    given = {"apiKey": key or None, "baseUrl": base_url, "isDefault": default or None}
    settings, store, account = _store(data)
    try:
        body = schemas.UpdateProviderRequest(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        print("; ".join(fault["msg"] for fault in error.errors(include_url=False)), file=sys.stderr)
        raise typer.Exit(EXIT_WRONG_USE) from None
    vault = Vault.open(settings.data / "secret.key")
    accounts.set_provider(store, vault, account["id"], provider.value, body, datetime.now(UTC))
