"""The server as a test has it."""

import functools
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from agentcontainer_local.testing.scripts import BadScript, Match, Script, Scripts
from agentcontainer_local.testing.steps import Step

if TYPE_CHECKING:
    from agentcontainer_local.client import Client

Backend = Literal["simulated", "podman"]
ReplayMode = Literal["strict", "loose"]
CHOSEN = ("data", "port", "host")  # by the server itself


class Server:
    """A running server with an empty store. Made by `server()`; use it as a context manager, or `start` and `stop` it.

    `backend` "simulated" plays runs in the server, without containers, in milliseconds; "podman" starts real
    containers with the real agent, whose model is the script. `environ`: the server's environment variables, such as
    provider keys; by default each provider has a key, which is never sent to anybody. `settings`: those of
    `agentcontainer serve`, by their names in Python: `max_running=1`.

    `record`: a directory into which the model calls of tasks without a script are recorded. They go to the real
    providers, with the keys of the process's environment. `replay`: such a directory, which then answers them without
    a key; `replay_mode` "loose" takes the next answer whatever is asked. With both, a task that has no recording yet is
    recorded.

    With a `seed`, all ids, keys and dates are the same in each run: the clock stands still at 2026-01-01T00:00:00Z, and
    moves only by `clock.advance`, also for steps that wait. A request is answered when the agents have done all that
    they can do. For the backend "simulated", and for a client that sends one request after another.
    """

    def __init__(
        self,
        backend: Backend = "simulated",
        *,
        environ: Mapping[str, str] | None = None,
        seed: int | str | None = None,
        record: str | Path | None = None,
        replay: str | Path | None = None,
        replay_mode: ReplayMode = "strict",
        **settings: Any,
    ):
        if wrong := [name for name in CHOSEN if name in settings]:
            raise ValueError(f"A server for tests chooses its {wrong[0]} itself. Leave {wrong[0]}= out.")
        if seed is not None and backend != "simulated":
            raise ValueError('A seed is for the backend "simulated". Real containers take their own time.')
        with _quick_imports():  # here, so that a suite that starts no server does not wait for it
            from agentcontainer_local.testing.clock import VirtualClock
            from agentcontainer_local.testing.faults import Faults
            from agentcontainer_local.testing.running import Running
        self._scripts = Scripts()
        taped = {"record": record, "replay": replay, "replay_mode": replay_mode}
        self._running = Running({"backend": backend, **taped, **settings}, environ or {}, self._scripts, seed)
        self.clock = VirtualClock(self._running)
        self.faults = Faults(self._running)

    @property
    def url(self) -> str:
        """Without /api/v1: `http://127.0.0.1:41234`. Raises RuntimeError before the start."""
        if not self._running.url:  # a client without an address would talk to the user's own server
            raise RuntimeError("The server for tests does not run. Start it: `with server() as ac:`.")
        return self._running.url

    @property
    def key(self) -> str:
        """The API key; the same for as long as the server runs."""
        return self._running.key

    @functools.cached_property
    def client(self) -> "Client":
        """A client of the server, which blocks. For asyncio: `async with AsyncClient(ac.url, ac.key) as client`."""
        with _quick_imports():
            from agentcontainer_local.client import Client
        return Client(self.url, self.key)

    def script(
        self,
        *steps: Step | Sequence[Step],
        name: str | None = None,
        agent: str | None = None,
        instructions: Match | None = None,
        model: Match | None = None,
        metadata: Mapping[str, Any] | None = None,
        times: int | None = None,
    ) -> Script:
        """What agents do from now on: of all tasks, or of those that have everything that is given.

        `steps`: of an autonomous task; of a conversation they are played for each message, unless lists of steps are
        given, one for each message. An autonomous script that does not end with `finish` or `fail` ends with
        `finish()`. `agent`: its id or name. `instructions`: a part of them, or a compiled pattern; of a conversation
        the first message counts too. `model`: its id, or a compiled pattern. `metadata`: values that the task's has.
        `times`: for so many tasks. `name`: for messages about the script.

        The newest script that fits a task is played. Where none fits, the scripted model answers: it runs the fenced
        `bash` blocks of the instructions, then calls finish with "Done"; in a conversation it repeats the message.

        Raises BadScript.
        """
        return self._scripts.add(
            *steps,
            name=name,
            agent=agent,
            instructions=instructions,
            model=model,
            metadata=metadata,
            times=times,
        )

    def check(self) -> None:
        """Raises BadScript where a script did not fit a task that it was used for, or names an agent that there is not.

        The fixture `agentcontainer` does this after each test.
        """
        if problems := self._running.call(self._problems):
            raise BadScript("\n".join(problems))

    async def _problems(self) -> list[str]:
        return self._running.problems()

    def reset(self) -> None:
        """Everything is as at the start: no task, no file, no script, no fault; the clock shows the real time."""
        self._running.reset()

    def start(self) -> "Server":
        """Once. Raises RuntimeError where the server cannot start, or was started before."""
        self._running.start()
        return self

    def stop(self) -> None:
        """Ends all runs and removes everything of the server."""
        if "client" in vars(self):
            self.client.close()
        self._running.stop()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def server(
    backend: Backend = "simulated",
    *,
    environ: Mapping[str, str] | None = None,
    seed: int | str | None = None,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    replay_mode: ReplayMode = "strict",
    **settings: Any,
) -> Server:
    """A server for `with`: see `Server`."""
    return Server(
        backend, environ=environ, seed=seed, record=record, replay=replay, replay_mode=replay_mode, **settings
    )


@contextmanager
def _quick_imports() -> Iterator[None]:
    """What is imported stays: looking through it for garbage would take a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
