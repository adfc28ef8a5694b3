"""Which server a command talks to, and with which key.

A server is, in this order: the one that --url or AGENTCONTAINER_URL names; the one that serves the data directory
(it has left its address in the directory's lock); for `run` and `chat`, one that is started for the time being.

The key is AGENTCONTAINER_API_KEY. Who owns the data directory needs none: the command makes a key of its own for as
long as it runs, which is in no file and gone at its end. A key is never an argument, where `ps` would show it.
"""

import contextlib
import functools
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli import exits
from agentcontainer_local.cli.exits import Stop

if TYPE_CHECKING:
    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.client import Client

URL, KEY = "AGENTCONTAINER_URL", "AGENTCONTAINER_API_KEY"
KEY_NAME = "a command on this machine, while it runs"

UrlFlag = Annotated[str | None, typer.Option(
    "--url", metavar="URL", help=f"The server [{URL}]; else this machine's.")]
DataFlag = Annotated[Path | None, typer.Option(
    "--data", metavar="DIR", help="Which data directory's server [AGENTCONTAINER_DATA].")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


def command(group: typer.Typer, name: str | None = None, *, starts: bool = False, stored: bool = False) -> Callable:
    """Registers a function of a Session as a command with --url, --data and --json.

    Where no server runs: `starts` one for the time being; `stored`: the data directory itself does what is asked.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def wrapped(url: str | None, data: Path | None, json: bool, **arguments: Any) -> None:
            with ending(json) as out:
                if stored and not (url or os.environ.get(URL)) and server_of(directory := data_directory(data)) is None:
                    code = _on_store(function, out, directory, arguments)
                else:
                    with opened(out, url, data, starts) as session:
                        code = function(session, **arguments)
            if code:
                raise typer.Exit(code)

        wrapped.__signature__ = _with_flags(function)
        group.command(name)(wrapped)
        return function

    return register


def _on_store(function: Callable, out: "Output", directory: Path, arguments: dict[str, Any]) -> int | None:
    """As the account that owns the directory; nothing is left to be done as who we were."""
    from agentcontainer_local import service_account
    from agentcontainer_local.cli import store

    if os.getuid() == 0:
        service_account.become(None)
    return function(Session(out, store.Store(directory), ""), **arguments)


def _with_flags(function: Callable) -> inspect.Signature:
    own = list(inspect.signature(function).parameters.values())[1:]
    flags = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
             for name, default, kind in (("json", False, JsonFlag), ("url", None, UrlFlag), ("data", None, DataFlag))]
    return inspect.Signature([*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *flags])


@contextlib.contextmanager
def ending(as_json: bool = False) -> Iterator["Output"]:
    """Turns what goes wrong into words on stderr (with --json: an error object) and an exit code."""
    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.client import ClientError
    from agentcontainer_local.errors import NotFound, Problem

    out = Output(as_json)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield out
    except typer.Exit:          # which is a RuntimeError
        raise
    except Stop as stop:
        if stop.message:
            _complain(out, "stopped", stop.message)
        raise typer.Exit(stop.code) from None
    except ClientError as error:
        code, word, message = _said(error)
        _complain(out, word, message)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        raise typer.Exit(exits.INTERRUPTED) from None
    except (RuntimeError, Problem) as error:
        _complain(out, "failed", str(error))
        raise typer.Exit(exits.FAILED if not isinstance(error, NotFound) else exits.NOT_FOUND) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        _complain(out, "io_error", f"{error.filename}: {error.strerror}" if error.filename else str(error))
        raise typer.Exit(exits.FAILED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    """So that keys and servers of our own are cleared away."""
    raise SystemExit(exits.TERMINATED)


def _complain(out: "Output", code: str, message: str) -> None:
    if out.as_json:
        out.json({"error": {"code": code, "message": message}})
    else:
        out.note(f"agentcontainer: {message}")


def _said(error: Exception) -> tuple[int, str, str]:
    from agentcontainer_local.client import NotReachable, Refused

    if isinstance(error, NotReachable):
        return exits.NO_SERVER, "not_reachable", f"The server does not answer: {error}"
    if not isinstance(error, Refused):
        return exits.FAILED, "failed", str(error)
    if error.code == "unauthorized":
        return exits.NO_KEY, error.code, f"The server does not know this key. Give it one that it does in {KEY}."
    hints = {"provider_key_missing": " Set one with `agentcontainer providers set anthropic`, or try the built-in"
                                     " model with `--model scripted`."}
    code = exits.NOT_FOUND if error.status == 404 else exits.FAILED
    return code, error.code, error.message + hints.get(error.code, "")


@contextlib.contextmanager
def opened(out: "Output", url: str | None, data: Path | None, starts: bool) -> Iterator[Session]:
    from agentcontainer_local.client import Client

    with contextlib.ExitStack() as stack:
        own, log = False, []
        if url := url or (os.environ.get(URL) if data is None else None):
            key = _given_key()
        else:
            directory = data_directory(data)
            found = server_of(directory)
            if found is None:
                if not starts:
                    raise Stop(exits.NO_SERVER, f"No server serves {directory}: start one with `agentcontainer serve`,"
                                                f" or name one with --url.")
                found, log = stack.enter_context(_started(out, directory))
                own = True
            given = None if own else os.environ.get(KEY)
            url, key = found, given or stack.enter_context(_own_key(directory))
        try:
            client = stack.enter_context(Client(url, key))
        except ValueError as error:
            raise Stop(exits.WRONG_USE, f"--url: {error}.") from None
        yield Session(out, client, url, own, log)


def _given_key() -> str:
    if key := os.environ.get(KEY):
        return key
    raise Stop(exits.NO_KEY, f"Set {KEY} to one of the server's keys; there, `agentcontainer keys create` makes one.")


def data_directory(given: Path | None) -> Path:
    """The one given, or set, or this account's own; root's is that of the account which `serve` would work as."""
    from agentcontainer_local import service_account

    chosen = given or os.environ.get("AGENTCONTAINER_DATA")
    return Path(chosen).absolute() if chosen else service_account.data_directory()


def server_of(directory: Path) -> str | None:
    """The URL of the server that has this data directory, if there is one."""
    from agentcontainer_local import lock

    try:
        return lock.holder(directory)
    except PermissionError:
        raise Stop(exits.NO_SERVER, f"{directory} belongs to another account: name its server with --url.") from None


@contextlib.contextmanager
def _own_key(directory: Path) -> Iterator[str]:
    """A key for the owner of the data directory, while the command runs."""
    from agentcontainer_local import service_account
    from agentcontainer_local.cli import store

    id, key = service_account.acting(lambda: store.lend_key(directory, KEY_NAME))
    try:
        yield key
    finally:
        service_account.acting(lambda: store.take_key_back(directory, id))


@contextlib.contextmanager
def _started(out: "Output", directory: Path) -> Iterator[tuple[str, list[str]]]:
    """A server for the time being, on a port that is free. At its end its agents are suspended, for the next one."""
    command = [*program(), "serve", "--port", "0", "--data", str(directory)]
    out.note("No server is running: starting one for the time being.", "dim")
    # A session of its own: Ctrl-C is for us, who then tell it.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=_end_with_parent)
    try:
        with _reading(out, server) as said:
            ready = next((line for line in server.stdout if "is ready at " in line), None)
            if ready is None:
                server.wait()
                words = ":\n" + "\n".join(said[-10:]) if out.err.is_terminal else "; its words are above."
                raise Stop(exits.NO_SERVER, "The server did not start" + words)
        yield ready.split("is ready at ")[1].split()[0], said
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signal.SIGINT)
        with server:
            server.wait()


@contextlib.contextmanager
def _reading(out: "Output", server: subprocess.Popen) -> Iterator[list[str]]:
    """Takes what the server logs as long as it runs, and shows it while it starts: the first start takes minutes."""
    import threading

    said: list[str] = []
    with out.steps("Starting") as step:
        showing = True

        def read() -> None:
            for line in server.stderr:
                said.append(line.rstrip())
                del said[:-100]
                if showing:
                    step(_words(line))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield said
        showing = False


def _end_with_parent() -> None:
    """A server for the time being is suspended when we are killed without being asked; root's is past our reach."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _words(line: str) -> str:
    """A line of the log without its time, level and module."""
    return re.sub(r"^\S+Z [A-Z]+ \S+ ", "", line.rstrip())


def program() -> list[str]:
    """How to start another one of this command."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "agentcontainer_local"]
