"""A run on a node, as seen by the host: messages from its node program, and orders to it."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from agentcontainer_local.sandbox.backend import Broken, Exit, Guest, RunSpec, Start
from agentcontainer_local.sandbox.errors import ImageMissing, SandboxError, Unavailable
from agentcontainer_local.sandbox.placed.wire import SILENT_SECONDS, Closed, Lines, Message
from agentcontainer_local.schemas import TaskWalls

log = logging.getLogger(__name__)

MEASURE_SECONDS = 10
FAILURES = {"unavailable": Unavailable, "image": ImageMissing, "sandbox": SandboxError}


class NodeFailed(RuntimeError):
    """The node could not start the run, but another one may. `node`: its name."""

    def __init__(self, node: str, why: str):
        super().__init__(f"{node}: {why}")
        self.node = node


class Session:
    """See backend.Handle. A session outlives connections: a node that reconnects repeats all that has happened."""

    def __init__(self, spec: RunSpec, guest: Guest, document: Message, env: Mapping[str, str], adopted: bool):
        """`document`: the description of the run that the node gets. `env`: the image's environment variables."""
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.guest = guest
        self.document = document
        self.env = env
        self.start = Start.ADOPTED if adopted else Start.FIRST
        self.image: str | None = None
        self.enforced: Mapping[str, Any] | None = None
        self.node: str | None = None
        self.started: asyncio.Future[None] = loop.create_future()  # or the exception NodeFailed or a SandboxError
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self.broken: asyncio.Future[Broken] = loop.create_future()
        self.at_rest = asyncio.Event()  # set when the container is stopped; its files are still on the node
        self.over = asyncio.Event()  # set when the node program has ended, or the scheduler reports the job's end
        self._lines: Lines | None = None
        self._orders: list[Message] = []  # repeated to a node that reconnects
        self._measured: asyncio.Future[int] = loop.create_future()
        self.adopted = adopted
        self.released = False
        self.job_id: str | None = None  # the scheduler's id; None for an adopted run

    @property
    def submitted(self) -> bool:
        return self.adopted or self.job_id is not None

    @property
    def connected(self) -> bool:
        return self._lines is not None

    async def attend(self, node: str, lines: Lines, known: Message) -> None:
        """Handles the node program's connection, until a later one. `known`: what has happened there so far."""
        if self._lines is not None:
            self._lines.close()
        self.node, self._lines = node, lines
        pinging = asyncio.create_task(lines.ping())
        try:
            for what in known.get("events", []):
                self._heard(node, what)
            for order in self._orders:
                await lines.write(order)
            while not self.over.is_set():
                message = await lines.read(SILENT_SECONDS)
                if message["type"] == "launch":
                    await self._launch(lines)
                else:
                    self._heard(node, message)
        except (Closed, TimeoutError):
            pass
        finally:
            pinging.cancel()
            if self._lines is lines:
                self._lines = None
            lines.close()

    async def order(self, message: Message) -> None:
        """Sends an order now, and again when the node reconnects."""
        self._orders.append(message)
        if self._lines is not None:
            with contextlib.suppress(Closed):
                await self._lines.write(message)

    async def measured(self) -> int | None:
        """What the run has written to disk so far, in bytes; None where its node does not say."""
        if not self.connected or self.over.is_set():
            return None
        self._measured = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                assert self._lines is not None
                await self._lines.write({"type": "measure"})
                return await self._measured
        except (TimeoutError, Closed):
            return None

    async def reached(self, event: asyncio.Event, seconds: float) -> None:
        """Waits for the event, at most `seconds`. Returns immediately if the node is not connected."""
        if self.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()

    def end(self, exit: Exit | None) -> None:
        """The scheduler reports that the job is over. `exit`: how the run ended, if the node has not reported it."""
        if exit is not None and not self.exited.done():
            self.exited.set_result(exit)
        self.at_rest.set()
        self.over.set()
        if self._lines is not None:
            self._lines.close()

    def try_again(self) -> None:
        """Prepares for a try on another node."""
        self.started, self.job_id = asyncio.get_running_loop().create_future(), None
        self.at_rest.clear()
        self.over.clear()

    def release(self) -> None:
        """Marks that nobody follows the run any more. It only remains to end it."""
        self.released = True
        for future in (self.started, self.exited, self.broken):
            future.cancel()

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _heard(self, node: str, message: Message) -> None:
        match message["type"]:
            case "started" if not self.started.done():
                self.image = str(message["image"])
                self.enforced = TaskWalls.model_validate(message["enforced"] | {"node": node}).model_dump(by_alias=True)
                if not self.adopted:
                    self.start = Start(message["start"])
                self.started.set_result(None)
            case "failed" if not self.started.done():
                kind = FAILURES.get(message["kind"])
                words = message["message"]
                self.started.set_exception(kind(f"{node}: {words}") if kind else NodeFailed(node, words))
                self.started.exception()  # marks it as retrieved, because maybe nobody waits
            case "exited" if not self.exited.done():
                self.exited.set_result(Exit(message["died"], message["last_words"]))
            case "broken" if not self.broken.done():
                self.broken.set_result(Broken(message["limit"], message["used"], message["allowed"]))
            case "measured" if not self._measured.done():
                self._measured.set_result(int(message["bytes"]))
            case "at_rest":
                self.at_rest.set()
            case "over":
                self.at_rest.set()
                self.over.set()
            case "log":
                log.warning("node %s: %s run=%s", node, message["message"], self.spec.run_id)

    async def _launch(self, lines: Lines) -> None:
        """What cannot be made is the run's own failure."""
        try:
            document = self.spec.launch(self.env)
        except Exception as error:
            if not self.started.done():
                self.started.set_exception(error)
            return
        await lines.write({"type": "launch", "document": base64.b64encode(document).decode()})
