"""A turn of a simulated agent: plays a script, or follows its model as Pi does."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from agentcontainer_local.pi import launch as pi
from agentcontainer_local.sandbox.simulated.commands import Host, Refused
from agentcontainer_local.sandbox.simulated.door import Door, Unreachable
from agentcontainer_local.sandbox.simulated.events import Events
from agentcontainer_local.sandbox.simulated.files import Kept
from agentcontainer_local.sandbox.simulated.model import Failed, Model, Said, ToolCall
from agentcontainer_local.sandbox.simulated.script import (
    FOLLOW_MODEL,
    Attach,
    Die,
    Exceed,
    Fail,
    Finish,
    FollowModel,
    Hibernate,
    Say,
    Scripts,
    Step,
    Tool,
    Turn,
    Wait,
)
from agentcontainer_local.sandbox.simulated.session import Session
from agentcontainer_local.sandbox.simulated.shell import Ran
from agentcontainer_local.sandbox.simulated.tools import Tools, described
from agentcontainer_local.sandbox.simulated.watch import Watch

RETRY = cast("dict[str, Any]", pi.SETTINGS["retry"])
RETRIES, FIRST_DELAY_SECONDS = RETRY["maxRetries"], RETRY["baseDelayMs"] / 1000
COUNTS_AT_ONCE = Die | Exceed | Fail | Hibernate  # steps that count as played at once, because they end the turn


class Settled(Exception):
    """The turn is over."""


class Died(Exception):
    """The agent's program has ended. The argument is its last output."""


@dataclass(frozen=True)
class Play:
    """What a test determines for all agents, and the clock for their pauses."""

    scripts: Scripts
    outputs: Callable[[str], Ran | str | None]  # the result of a bash block, instead of running it
    sleep: Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Prompt:
    id: str
    message: str


class Agent:
    def __init__(
        self,
        task_id: str,
        launch: dict[str, Any],
        door: Door,
        kept: Kept,
        play: Play,
        events: Events,
        session: Session,
        watch: Watch,
    ):
        self._task_id, self._mode = task_id, launch["mode"]
        self._door, self._kept, self._play, self._events, self._session = door, kept, play, events, session
        self._watch = watch
        self._model = Model(launch)
        self._host = Host(door, kept)
        self._tools = Tools(self._host, kept, play.sleep, play.outputs)
        self.steers: deque[Prompt] = deque()  # messages to take between two steps

    def hear(self, prompt: Prompt) -> None:
        self._session.heard(prompt.id, prompt.message)

    def hear_steers(self) -> None:
        while self.steers:
            self.hear(self.steers.popleft())

    async def turn(self, prompt: Prompt) -> None:
        """Plays one turn. Raises Died."""
        turn = Turn(self._task_id, self._mode, self._model.provider, self._model.name, prompt.message)
        script = self._play.scripts(turn) or FOLLOW_MODEL
        key = prompt.id if self._mode == "conversation" else self._task_id
        try:
            if script is FOLLOW_MODEL:
                await self._follow_model()
                return
            for number, step in enumerate(script.steps, 1):
                if number > self._session.steps(key):
                    where = f"{script.name}, step {number} ({type(step).__name__.lower()})"
                    await self._play_step(step, where, key, last=number == len(script.steps))
        except Settled:
            return

    async def _play_step(self, step: Step, where: str, key: str, last: bool) -> None:
        self.hear_steers()
        if isinstance(step, COUNTS_AT_ONCE):
            self._session.played(key)
        match step:
            case Say(text):
                self._say(text, "stop" if last else "toolUse")
            case Tool():
                await self._tool(step)
            case Wait(seconds):
                await self._play.sleep(seconds)
            case Hibernate(seconds, message):
                wish = {"forSeconds": seconds, "message": message}
                await self._ask("hibernate", wish, self._host.hibernate(wish), where, ends=True)
            case Attach(files):
                self._write(files)
                await self._ask("attach", {"files": list(files)}, self._host.attach(list(files)), where)
            case Finish():
                await self._finish(step, where)
            case Fail(error):
                self._fail(error)
            case Die(last_words):
                await self._die(last_words)
            case Exceed(limit, used):
                self._watch.exceed(limit, used)
                await _wait_to_be_ended()
            case FollowModel():
                await self._follow_model()
        self._session.played(key)

    def _say(self, text: str, reason: str) -> None:
        self._session.said(text)
        self._events.delta(text)
        self._events.message(text, reason)

    async def _tool(self, step: Tool) -> None:
        self._write(step.files)
        call = self._call_begins("bash", {"command": step.command})
        self._call_ended(call, step.output or "(no output)", step.failed)
        if self._watch.look():
            await _wait_to_be_ended()

    async def _finish(self, step: Finish, where: str) -> None:
        self._write(step.files)
        self._write(dict(step.outputs.values()))
        named = {name: filename for name, (filename, _) in step.outputs.items()}
        given = {"message": step.message, "files": list(step.files), "outputs": named}
        asked = self._host.finish(
            step.message, [*((None, path) for path in step.files), *named.items()], step.incomplete
        )
        await self._ask("finish", given, asked, where, ends=True, may_be_refused=step.may_be_refused)

    async def _ask(
        self,
        tool: str,
        given: dict[str, Any],
        asked: Awaitable[None],
        where: str,
        ends: bool = False,
        may_be_refused: bool = False,
    ) -> None:
        call = self._call_begins(tool, given)
        await self._events.flush()
        try:
            await asked
        except Refused as refused:
            self._call_ended(call, str(refused), failed=True)
            if not may_be_refused:
                self._fail(f"The script does not fit the task: {where} was refused. {refused}")
        else:
            self._call_ended(call, "Accepted.", failed=False)
            if ends:
                raise Settled

    def _write(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            self._kept.write(path, content)

    def _fail(self, error: str, said: str = "") -> NoReturn:
        self._events.message(said, "error", error)
        raise Settled

    async def _die(self, last_words: str) -> NoReturn:
        await self._events.flush()
        raise Died(last_words)

    def _call_begins(self, tool: str, given: dict[str, Any]) -> ToolCall:
        call = ToolCall(self._session.new_call_id(), tool, given)
        self._session.said("", call)
        self._events.tool_started(call.id, tool, given)
        return call

    def _call_ended(self, call: ToolCall, output: str, failed: bool) -> None:
        self._session.answered(call.id, output, failed)
        self._events.tool_ended(call.id, output, failed)

    async def _follow_model(self) -> None:
        """Asks the model, runs the tools that it calls, and repeats until it calls none."""
        while True:
            self.hear_steers()
            said = await self._answer()
            self._session.said(said.text, *said.calls)
            self._events.message(said.text, "toolUse" if said.calls else "stop")
            for call in said.calls:
                await self._call(call)
            if not said.calls:
                return

    def _heard(self, words: list[str]) -> Callable[[str], None]:
        def heard(text: str) -> None:
            words.append(text)
            self._events.delta(text)

        return heard

    async def _call(self, call: ToolCall) -> None:
        self._events.tool_started(call.id, call.name, call.arguments)
        await self._events.flush()
        result = await self._tools.call(call.name, call.arguments)
        if result.died is not None:
            await self._die(result.died)
        self._call_ended(call, result.text, result.failed)
        if result.ends:
            raise Settled
        if self._watch.look():
            await _wait_to_be_ended()

    async def _answer(self) -> Said:
        """The model's answer, with retries like Pi's. After the last failure the host is informed and the turn ends."""
        history, known = self._session.history(), described(self._mode)
        attempt = 0
        while True:
            words: list[str] = []
            try:
                return await self._model.ask(self._door, history, known, self._heard(words))
            except (Failed, Unreachable) as failed:
                error = str(failed) or "The connection was cut."
                if attempt == RETRIES or (isinstance(failed, Failed) and not failed.passing):
                    self._fail(error, "".join(words))
            delay = FIRST_DELAY_SECONDS * 2**attempt
            attempt += 1
            self._events.push("retrying", attempt=attempt, delayMs=round(delay * 1000), message=error)
            await self._play.sleep(delay)


async def _wait_to_be_ended() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError
