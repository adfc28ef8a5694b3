"""The server that a command talks to, and the key.

The server is, in this order: the one that --url or AGENTCONTAINER_URL names; the one that serves the data directory;
a temporary one, which the command starts and ends. A temporary server runs agents for `run` and `chat` only.

The key is AGENTCONTAINER_API_KEY. The owner of the data directory needs none: its server writes its address and a key
for the owner into the directory's lock, for as long as it lives. A key is never an argument, where `ps` would show it.
"""

import contextlib
import errno
import functools
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli import flags
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.environment import API_KEY, DATA, URL
from agentcontainer_local.process import entry_point

if TYPE_CHECKING:
    from agentcontainer_local.cli.lines import Lines
    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.client import Client, ClientError
    from agentcontainer_local.store.lock import Served

UrlFlag = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help=f"Address of the server. [{URL}; by default this machine's server]"),
]
DataFlag = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help=f"Use the server of this data directory. [{DATA}]"),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON; errors are JSON on stderr.")]


@dataclass(frozen=True)
class Start:
    """How a temporary server is started and ended. `new_store`: it may make a data directory that does not exist."""

    flags: tuple[str, ...]
    ends_by: signal.Signals
    new_store: bool = True


ONE_TASK = ("--warm", "0")  # no container waits for another one
AT_WORK = Start(ONE_TASK, signal.SIGINT)  # its agents are suspended at the end, for the next server
# Starts no agent, and ends none that another one left.
AT_REST = Start(("--max-running", "0", *ONE_TASK), signal.SIGTERM)
READING = Start(AT_REST.flags, AT_REST.ends_by, new_store=False)


@dataclass
class Session:
    """What a command is given: the client, and how to show things. `own`: its server ends with the command."""

    out: "Output"
    client: "Client"
    url: str
    own: bool = False
    log: list[str] = field(default_factory=list)

    def hint(self) -> str:
        """What a server of our own said last: why a task waits."""
        return next((said for line in reversed(self.log) if not (said := _words(line)).startswith("task=")), "")


def command(
    group: App, name: str | None = None, *, starts: Start | None = READING, example: str | Sequence[str] = ()
) -> Callable[..., Any]:
    """Registers a function of a Session as a command with --url, --data and --json.

    `starts`: where no server runs, a temporary one is started like this; None: one must run.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        own = flags.of(function)

        @functools.wraps(function)
        def wrapped(url: str | None, data: Path | None, json: bool, **arguments: Any) -> None:
            with ending(json, own) as out, opened(out, url, data, starts) as session:
                code = function(session, **arguments)
            if code:
                raise typer.Exit(code)

        group.command(name, example=example)(signed(wrapped, _with_flags(function)))
        return function

    return register


def signed(function: Callable[..., None], signature: inspect.Signature) -> Callable[..., None]:
    """The function with another signature, which Typer reads as its parameters."""
    function.__signature__ = signature  # type: ignore[attr-defined]  # the name that `inspect` looks for
    return function


def _with_flags(function: Callable[..., Any]) -> inspect.Signature:
    own = list(inspect.signature(function).parameters.values())[1:]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, default, kind in (("json", False, JsonFlag), ("url", None, UrlFlag), ("data", None, DataFlag))
    ]
    return inspect.Signature([*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *flags])


@contextlib.contextmanager
def ending(
    as_json: bool = False, own: Mapping[str, str] = MappingProxyType({}), output: "type[Lines] | None" = None
) -> Iterator[Any]:
    """Turns an exception into a message on stderr (with --json: an error object) and an exit code.

    `own`: the command's flags, as `flags.of` finds them, by which errors name fields of the API. `output`: what the
    command gets, by default an Output.
    """
    from pydantic import ValidationError

    from agentcontainer_local.errors import Problem

    out = (output or _output())(as_json)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield out
        sys.stdout.flush()
    except typer.Exit:  # which is a RuntimeError
        raise
    except Stop as stop:
        if stop.message:
            _complain(out, stop.code.name.lower(), stop.message)
        raise typer.Exit(stop.code) from None
    except _client_errors() as error:
        code, word, message = _said(error, own)
        _complain(out, word, message)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except ValidationError as error:
        from agentcontainer_local.schemas import faults

        _complain(out, "wrong_use", flags.explained("", faults.found(error), own))
        raise typer.Exit(Exit.WRONG_USE) from None
    except UnicodeError as error:
        _complain(out, "wrong_use", f"The input is not valid UTF-8 text: {getattr(error, 'reason', error)}.")
        raise typer.Exit(Exit.WRONG_USE) from None
    except (RuntimeError, Problem) as error:
        _complain(out, "failed", str(error))
        raise typer.Exit(Exit.FAILED) from None
    except OSError as error:
        if error.errno in STREAM_ERRORS and not error.filename:
            raise  # of stdout: streams.guarded says so
        words = error.strerror or str(error)
        _complain(out, "io_error", f"{error.filename}: {words}" if error.filename else words)
        raise typer.Exit(Exit.FAILED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _output() -> "type[Lines]":
    from agentcontainer_local.cli.output import Output

    return Output


def _client_errors() -> "tuple[type[ClientError], ...]":
    """A command that has not loaded the client has none of its errors."""
    client = sys.modules.get("agentcontainer_local.client")
    return (client.ClientError,) if client else ()


STREAM_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EBADF)


def _terminated(*_: object) -> None:
    """So that keys and servers of our own are cleared away."""
    raise SystemExit(Exit.TERMINATED)


def _complain(out: "Lines", code: str, message: str) -> None:
    if out.as_json:
        out.note_json({"error": {"code": code, "message": message}})
    else:
        out.note(f"agentcontainer: {message}", "red")


def _said(error: Exception, own: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, error code and message."""
    from agentcontainer_local.client import LocalFile, NoKey, NotReachable, Refused, WrongUse

    match error:
        case NotReachable():
            return Exit.NO_SERVER, "not_reachable", f"The server does not answer: {error}"
        case NoKey():
            return Exit.NO_KEY, "unauthorized", str(error)
        case WrongUse():
            return Exit.WRONG_USE, "wrong_use", flags.explained(str(error), error.fields, own)
        case LocalFile():
            return Exit.FAILED, "io_error", str(error)
        case Refused(code="unauthorized"):
            return (
                Exit.NO_KEY,
                error.code,
                (
                    f"The server does not accept this API key. Set {API_KEY} to a key of the"
                    " server. If the data directory is yours, unset it."
                ),
            )
        case Refused(code="provider_key_missing") if not error.details.get("lost"):
            provider = error.details.get("provider")
            remedy = (
                f"Store one: agentcontainer providers set {provider or 'anthropic'} --default < FILE. Or use the"
                " built-in scripted model: -m scripted."
            )
            return Exit.FAILED, error.code, f"There is no API key for {provider or 'a model provider'}. {remedy}"
        case Refused():
            code = {"not_found": Exit.NOT_FOUND, "validation_error": Exit.WRONG_USE}.get(error.code, Exit.FAILED)
            return code, error.code, flags.explained(error.message, error.fields, own)
    return Exit.FAILED, "failed", str(error)


@contextlib.contextmanager
def opened(out: "Output", url: str | None, data: Path | None, starts: Start | None) -> Iterator[Session]:
    from agentcontainer_local.client import Client

    with contextlib.ExitStack() as stack:
        own = False
        log: list[str] = []
        if named := url or (os.environ.get(URL) if data is None else None):
            url, key = named, given_key()
        else:
            directory = data_directory(data)
            served = server_of(directory)
            if own := served is None:
                served, log = stack.enter_context(_started(out, directory, _may_start(directory, starts)))
            url, key = served.url, (not own and given_key(needed=False)) or served.key or given_key()
        client = stack.enter_context(Client(url, key))
        if named:
            _greeted(client)
        yield Session(out, client, client.url, own, log)


def _may_start(directory: Path, starts: Start | None) -> Start:
    if starts is None or not (starts.new_store or (directory / "agentcontainer.db").exists()):
        raise Stop(
            Exit.NO_SERVER,
            f"No server runs for the data directory {directory}. Start one with `agentcontainer"
            f" serve`, or name another server with --url.",
        )
    return starts


def _greeted(client: "Client") -> None:
    """A wrong address or key is reported at once: retries are for a server that restarts while it is in use."""
    patience, client.retries = client.retries, 1
    client.get_account()
    client.retries = patience


def given_key(needed: bool = True) -> str:
    """Without the spaces and line ending that a file or a secret store leaves at its end. Never shown to anybody."""
    key = os.environ.get(API_KEY, "").strip()
    if key and not re.fullmatch("[!-~]+", key):
        raise Stop(Exit.NO_KEY, f"{API_KEY} contains a space or a non-ASCII character. Copy the key again.")
    if not key and needed:
        raise Stop(
            Exit.NO_KEY, f"Set {API_KEY} to an API key of the server. `agentcontainer keys create` makes one there."
        )
    return key


def data_directory(given: Path | None) -> Path:
    """The one given, or set, or this account's own; root's is that of the account which `serve` would work as."""
    from agentcontainer_local.process import service_account

    chosen = given or os.environ.get(DATA)
    return Path(chosen).absolute() if chosen else service_account.data_directory()


def server_of(directory: Path) -> "Served | None":
    """The server that has this data directory, if there is one."""
    from agentcontainer_local.store import lock

    try:
        return lock.holder(directory)
    except PermissionError:
        raise Stop(Exit.NO_SERVER, f"{directory} belongs to another account. Name its server with --url.") from None


@contextlib.contextmanager
def _started(out: "Output", directory: Path, how: Start) -> Iterator[tuple["Served", list[str]]]:
    """A temporary server, on a free port; and what it logs."""
    command = [*entry_point.again(), "serve", "--json", "--port", "0", "--data", str(directory), *how.flags]
    out.note("No server is running. Starting a temporary one.", "dim")
    # A session of its own: Ctrl-C is for us, who then tell it.
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    assert server.stdout and server.stderr
    try:
        with _reading(out, server.stderr) as said:
            server.stdout.readline()
            served = server_of(directory)
            if served is None:
                server.wait()
                why = _error_in(said) or "\n".join(["Its last output:", *said[-10:]])
                raise Stop(Exit.NO_SERVER, f"The server did not start: {why}")
        yield served, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(how.ends_by)
        with server:
            server.wait()


def _error_in(lines: list[str]) -> str:
    """The message of the error object that it ended with."""
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(json.loads(line)["error"]["message"])
    return ""


@contextlib.contextmanager
def _reading(out: "Output", log: IO[str]) -> Iterator[list[str]]:
    """Takes what the server logs as long as it runs, and shows it while it starts: the first start takes minutes."""
    import threading

    said: list[str] = []
    with out.steps("Starting") as step:
        showing = True

        def read() -> None:
            for line in log:
                said.append(line.rstrip())
                del said[:-100]
                if showing:
                    step(_words(line))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield said
        showing = False


def _end_with_parent() -> None:
    """A temporary server ends when this process is killed; one that root started cannot be reached this way."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _words(line: str) -> str:
    """A line of the log without its time, level and module."""
    return re.sub(r"^\S+Z [A-Z]+ \S+ ", "", line.rstrip())
