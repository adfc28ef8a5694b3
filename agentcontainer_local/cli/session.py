"""Which server a command talks to, and with which key.

A server is, in this order: the one that --url or AGENTCONTAINER_URL names; the one that serves the data directory;
for `run`, `chat` and what is set up before them (keys, providers, budget, credit), one that is started for the time
being.

The key is AGENTCONTAINER_API_KEY. Who owns the data directory needs none: its server leaves its address and a key of
the owner's in the directory's lock, for as long as it lives. A key is never an argument, where `ps` would show it.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local import itself
from agentcontainer_local.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from pydantic import ValidationError

    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.client import Client
    from agentcontainer_local.lock import Served

URL, KEY = "AGENTCONTAINER_URL", "AGENTCONTAINER_API_KEY"

UrlFlag = Annotated[str | None, typer.Option(
    "--url", metavar="URL", help=f"The server [{URL}]; else this machine's.")]
DataFlag = Annotated[Path | None, typer.Option(
    "--data", metavar="DIR", help="Which data directory's server [AGENTCONTAINER_DATA].")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Start:
    """How a server for the time being is started and ended."""

    flags: tuple[str, ...]
    ends_by: signal.Signals


AT_WORK = Start((), signal.SIGINT)      # its agents are suspended at the end, for the next server
AT_REST = Start(("--max-running", "0"), signal.SIGTERM)     # starts no agent, and ends none that another one left


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


def command(group: typer.Typer, name: str | None = None, *, starts: Start | None = None) -> Callable:
    """Registers a function of a Session as a command with --url, --data and --json.

    `starts`: where no server runs, one is started like this for the time being.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def wrapped(url: str | None, data: Path | None, json: bool, **arguments: Any) -> None:
            with ending(json) as out, opened(out, url, data, starts) as session:
                code = function(session, **arguments)
            if code:
                raise typer.Exit(code)

        wrapped.__signature__ = _with_flags(function)
        group.command(name)(wrapped)
        return function

    return register


def _with_flags(function: Callable) -> inspect.Signature:
    own = list(inspect.signature(function).parameters.values())[1:]
    flags = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
             for name, default, kind in (("json", False, JsonFlag), ("url", None, UrlFlag), ("data", None, DataFlag))]
    return inspect.Signature([*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *flags])


@contextlib.contextmanager
def ending(as_json: bool = False) -> Iterator["Output"]:
    """Turns what goes wrong into words on stderr (with --json: an error object) and an exit code."""
    from pydantic import ValidationError

    from agentcontainer_local.cli.output import Output
    from agentcontainer_local.client import ClientError
    from agentcontainer_local.errors import Problem

    out = Output(as_json)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield out
        sys.stdout.flush()
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
        raise typer.Exit(Exit.INTERRUPTED) from None
    except ValidationError as error:
        _complain(out, "wrong_use", faults(error))
        raise typer.Exit(Exit.WRONG_USE) from None
    except (RuntimeError, Problem) as error:
        _complain(out, "failed", str(error))
        raise typer.Exit(Exit.FAILED) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        _give_up_stdout(error)
        words = error.strerror or str(error)
        _complain(out, "io_error", f"{error.filename}: {words}" if error.filename else words)
        raise typer.Exit(Exit.FAILED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    """So that keys and servers of our own are cleared away."""
    raise SystemExit(Exit.TERMINATED)


def _give_up_stdout(error: OSError) -> None:
    """What can't be written to a full disk would be tried again at our end, and that would be the last word."""
    if error.errno == errno.ENOSPC and not error.filename:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = "stdout"


def faults(error: "ValidationError", named: Callable[[str], str] = str) -> str:
    """`maxRuntimeSeconds: Input should be greater than 0`, a line each."""
    found = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors(include_url=False)]
    return "\n".join(f"{named(where)}: {words}" if where else words for where, words in found)


def _complain(out: "Output", code: str, message: str) -> None:
    if out.as_json:
        out.json({"error": {"code": code, "message": message}})
    else:
        out.note(f"agentcontainer: {message}", "red")


def _said(error: Exception) -> tuple[int, str, str]:
    from agentcontainer_local.client import NotReachable, Refused

    if isinstance(error, NotReachable):
        return Exit.NO_SERVER, "not_reachable", f"The server does not answer: {error}"
    if not isinstance(error, Refused):
        return Exit.FAILED, "failed", str(error)
    if error.code == "unauthorized":
        return Exit.NO_KEY, error.code, f"The server does not know this key. Give it one that it does in {KEY}."
    code = {"not_found": Exit.NOT_FOUND, "validation_error": Exit.WRONG_USE}.get(error.code, Exit.FAILED)
    return code, error.code, error.message


@contextlib.contextmanager
def opened(out: "Output", url: str | None, data: Path | None, starts: Start | None) -> Iterator[Session]:
    from agentcontainer_local.client import Client

    with contextlib.ExitStack() as stack:
        own, log = False, []
        if named := url or (os.environ.get(URL) if data is None else None):
            url, key = named, _given_key()
        else:
            directory = data_directory(data)
            served = server_of(directory)
            if own := served is None:
                if starts is None:
                    raise Stop(Exit.NO_SERVER, f"No server serves {directory}: start one with `agentcontainer serve`,"
                                               f" or name one with --url.")
                served, log = stack.enter_context(_started(out, directory, starts))
            url, key = served.url, (not own and os.environ.get(KEY)) or served.key or _given_key()
        try:
            client = stack.enter_context(Client(url, key))
        except ValueError as error:
            raise Stop(Exit.WRONG_USE, f"--url: {error}.") from None
        if named:
            _greeted(client)
        yield Session(out, client, url, own, log)


def _greeted(client: "Client") -> None:
    """A wrong address or key is said at once, and not after the patience that is for a server's restart."""
    patience, client.retries = client.retries, 1
    client.get_account()
    client.retries = patience


def _given_key() -> str:
    if key := os.environ.get(KEY):
        return key
    raise Stop(Exit.NO_KEY, f"Set {KEY} to one of the server's keys; there, `agentcontainer keys create` makes one.")


def data_directory(given: Path | None) -> Path:
    """The one given, or set, or this account's own; root's is that of the account which `serve` would work as."""
    from agentcontainer_local import service_account

    chosen = given or os.environ.get("AGENTCONTAINER_DATA")
    return Path(chosen).absolute() if chosen else service_account.data_directory()


def server_of(directory: Path) -> "Served | None":
    """The server that has this data directory, if there is one."""
    from agentcontainer_local import lock

    try:
        return lock.holder(directory)
    except PermissionError:
        raise Stop(Exit.NO_SERVER, f"{directory} belongs to another account: name its server with --url.") from None


@contextlib.contextmanager
def _started(out: "Output", directory: Path, how: Start) -> Iterator[tuple["Served", list[str]]]:
    """A server for the time being, on a port that is free; and what it logs."""
    command = [*itself.again(), "serve", "--json", "--port", "0", "--data", str(directory), *how.flags]
    out.note("No server is running: starting one for the time being.", "dim")
    # A session of its own: Ctrl-C is for us, who then tell it.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=_end_with_parent)
    try:
        with _reading(out, server) as said:
            ready = json.loads(server.stdout.readline() or "{}")
            served = server_of(directory)
            if served is None:
                server.wait()
                why = ready.get("error", {}).get("message") or "\n".join(["its last words were:", *said[-10:]])
                raise Stop(Exit.NO_SERVER, f"The server did not start: {why}")
        yield served, said
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(how.ends_by)
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
