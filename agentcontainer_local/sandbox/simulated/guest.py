"""A simulated guest, from its start to its end. It speaks the guest contract like the real one."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agentcontainer_local.sandbox.backend import Exit
from agentcontainer_local.sandbox.simulated.agent import Agent, Died, Prompt
from agentcontainer_local.sandbox.simulated.door import Answer, Door, Unreachable
from agentcontainer_local.sandbox.simulated.events import Events
from agentcontainer_local.sandbox.simulated.files import FileProblem, Kept, problem, unpack
from agentcontainer_local.sandbox.simulated.session import Session

RECONNECT_SECONDS = 0.05
GONE = 410  # the host can't provide this input; the body says why


class _Over(Exception):
    """The host has ended the run."""


class Guest:
    def __init__(self, agent: Agent, door: Door, kept: Kept, events: Events, session: Session):
        self._agent, self._door, self._kept, self._events, self._session = agent, door, kept, events, session
        self._prompts: deque[Prompt] = deque()
        self._prompted = asyncio.Event()

    async def run(self) -> Exit:
        """Runs until the host ends the run or the agent dies. Stopping the run cancels it."""
        self._events.push("ready")
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._follow_commands())
                parts.create_task(self._work())
                await self._events.pump()
                raise _Over
        except BaseExceptionGroup as group:
            ends, faults = group.split((_Over, Died))
            if faults is not None or ends is None:
                raise
            end = ends.exceptions[0]
            return Exit(died=True, last_words=str(end)) if isinstance(end, Died) else Exit(died=False)

    async def _work(self) -> None:
        asked = Prompt("", "")
        while True:
            await self._prompted.wait()
            self._prompted.clear()
            while self._prompts or self._agent.steers:
                if self._prompts:
                    asked = self._prompts.popleft()
                    self._agent.hear(asked)
                self._agent.hear_steers()
                await self._agent.turn(asked)
            self._events.push("settled")

    async def _follow_commands(self) -> None:
        """Executes the host's commands. Each one is executed once per start, however often the host sends it."""
        done: set[str] = set()
        while True:
            with contextlib.suppress(Unreachable):
                async with self._door.request("GET", "/guest/commands") as answer:
                    async for command in _lines(answer):
                        if command["id"] not in done:
                            done.add(command["id"])
                            await self._do(command)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _do(self, command: dict[str, Any]) -> None:
        try:
            await self._fetch_inputs(command.get("inputs") or [])
        except FileProblem as error:
            self._events.push("refused", id=command["id"], message=str(error))
            return
        again = command.get("resume") and self._session.knows(command["id"])
        prompt = Prompt(command["id"], command["resume"] if again else command["message"])
        (self._agent.steers if command["type"] == "steer" else self._prompts).append(prompt)
        self._events.push("prompted", id=command["id"])
        self._prompted.set()

    async def _fetch_inputs(self, inputs: list[dict[str, Any]]) -> None:
        """Fetches missing inputs. It never overwrites files that the agent may have changed."""
        for one in inputs:
            if not self._session.has_input(one["path"]):
                try:
                    await self._fetch(one)
                except (FileProblem, OSError) as error:
                    why = problem(error) if isinstance(error, OSError) else error
                    words = f"The input file {one['path']} could not be put into the workspace: {why}"
                    raise FileProblem(words) from None
                self._session.fetched(one["path"])

    async def _fetch(self, one: dict[str, Any]) -> None:
        place, arriving = self._kept.path(one["path"]), self._kept.arriving
        place.parent.mkdir(parents=True, exist_ok=True)
        while not await self._download(one["url"], arriving):
            await asyncio.sleep(RECONNECT_SECONDS)
        if one.get("directory"):
            with arriving.open("rb") as archive:
                unpack(archive, place)
        else:
            arriving.replace(place)

    async def _download(self, url: str, to: Path) -> bool:
        """False if the server was not reachable."""
        with contextlib.suppress(Unreachable):
            async with self._door.request("GET", url) as answer:
                if answer.status >= 500:
                    return False
                if answer.status != 200:
                    raise FileProblem(await _why(answer))
                with to.open("wb") as file:
                    async for piece in answer.pieces:
                        file.write(piece)
                return True
        return False


async def _lines(answer: Answer) -> AsyncIterator[dict[str, Any]]:
    kept = b""
    async for piece in answer.pieces:
        *lines, kept = (kept + piece).split(b"\n")
        for line in lines:
            if line:  # empty lines are heartbeats
                yield json.loads(line)


async def _why(answer: Answer) -> str:
    body = await answer.body()
    return str(json.loads(body)["error"]["message"]) if answer.status == GONE else f"the host answered {answer.status}"
