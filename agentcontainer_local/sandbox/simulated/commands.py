"""The commands finish, hibernate and attach of a simulated agent, as in a container."""

import argparse
import re
import uuid
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from agentcontainer_local.sandbox.simulated.door import Door, chunks
from agentcontainer_local.sandbox.simulated.files import FileProblem, Kept, pack
from agentcontainer_local.sandbox.simulated.shell import UNITS, Command, Ran

DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class WrongUse(Exception):
    """A command was called with wrong arguments."""


class Refused(Exception):
    """The host refused, or a file can't be used. The message is for the agent."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUse(message)


class Host:
    """The guest's requests to the host: finish, hibernate, and deliver files."""

    def __init__(self, door: Door, kept: Kept):
        self._door = door
        self._kept = kept

    async def finish(self, message: str, files: Sequence[tuple[str | None, str]], incomplete: bool = False) -> None:
        """`files`: pairs of (output name or None, path). Raises Refused."""
        completion = "incomplete" if incomplete else "complete"
        await self._deliver({"kind": "finish", "completion": completion, "message": message}, files)

    async def attach(self, files: list[str]) -> None:
        await self._deliver({"kind": "attach"}, [(None, path) for path in files])

    async def hibernate(self, wish: dict[str, Any]) -> None:
        _judged(await self._door.ask("POST", "/guest/hibernate", wish))

    async def _deliver(self, claim: dict[str, Any], files: Sequence[tuple[str | None, str]]) -> None:
        key = [(b"idempotency-key", str(uuid.uuid4()).encode())]
        opened = [self._opened(name, path) for name, path in files]
        if problems := [f'"{one["path"]}": {one["problem"]}' for one in opened if "problem" in one]:
            raise Refused("These files cannot be sent:\n  " + "\n  ".join(dict.fromkeys(problems)))
        listed = [{name: value for name, value in one.items() if name != "content"} for one in opened]
        while True:
            begun = _judged(await self._door.ask("POST", "/guest/outputs", {**claim, "files": listed}, key))
            if begun.get("done") or await self._sent(begun["id"], opened):
                return

    async def _sent(self, id: str, opened: list[dict[str, Any]]) -> bool:
        """Sends the files. False if the server was restarted meanwhile and does not know this delivery."""
        for index, one in enumerate(opened):
            status, answer = await self._door.send("PUT", f"/guest/outputs/{id}/{index}", one["content"])
            if status == 404:
                return False
            _judged((status, answer))
        status, answer = await self._door.ask("POST", f"/guest/outputs/{id}", {})
        if status == 404:
            return False
        _judged((status, answer))
        return True

    def _opened(self, name: str | None, path: str) -> dict[str, Any]:
        try:
            place = self._kept.path(path)
        except FileProblem as problem:
            return {"path": path, "problem": str(problem)}
        about = {"path": path, "outputName": name}
        if place.is_dir():
            content = pack(place)
            named = f"{place.name or 'workspace'}.tar"
            return {**about, "filename": named, "sizeBytes": len(content), "directory": True, "content": content}
        if not place.is_file():
            return {"path": path, "problem": "there is no such file"}
        filename = PurePosixPath(path).name
        return {**about, "filename": filename, "sizeBytes": place.stat().st_size, "content": lambda: chunks(place)}


def _judged(answer: tuple[int, Any]) -> dict[str, Any]:
    status, body = answer
    if 200 <= status < 300:
        return body or {}
    error = (body or {}).get("error", {}) if isinstance(body, dict) else {}
    raise Refused(error.get("message") or f"The host answered {status}.")


# The guest's commands, with the options that they have in a container


async def finish(host: Host, arguments: list[str]) -> str:
    parser = _Parser("finish", add_help=False, allow_abbrev=False)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--complete-task", action="store_true")
    how.add_argument("--incomplete-task", action="store_true")
    parser.add_argument("--message", "-m", default="")
    parser.add_argument("--output", action="append", default=[])
    parser.add_argument("files", nargs="*")
    given = parser.parse_intermixed_args(arguments)
    if not given.message.strip():
        raise WrongUse('give --message "what was done".')
    named = [_named(text) for text in given.output]
    await host.finish(given.message.strip(), [*((None, path) for path in given.files), *named], given.incomplete_task)
    return f"Accepted. The task has ended as {'incomplete' if given.incomplete_task else 'complete'}."


def _named(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name.strip() or not path:
        raise WrongUse(f"--output takes NAME=PATH, not {text}.")
    return name.strip(), path


async def hibernate(host: Host, arguments: list[str]) -> str:
    parser = _Parser("hibernate", add_help=False, allow_abbrev=False)
    for name in ("--for", "--until"):
        parser.add_argument(name)
    parser.add_argument("--message", "-m", default="")
    return await asleep(host, vars(parser.parse_args(arguments)))


async def asleep(host: Host, given: dict[str, Any]) -> str:
    duration, until = given.get("for"), given.get("until")
    if (duration is None) == (until is None):
        raise WrongUse("give one of --for and --until.")
    when = {"untilAt": until} if duration is None else {"forSeconds": _seconds(duration)}
    await host.hibernate({**when, "message": (given.get("message") or "").strip() or None})
    return "Accepted. The task sleeps now; stop here."


def _seconds(text: str) -> float:
    text = text.strip().lower()
    seconds = sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
    if not DURATION.fullmatch(text) or seconds <= 0:
        raise WrongUse(f"{text} is no duration: write 90s, 45m, 2h or 1d12h.")
    return seconds


async def attach(host: Host, arguments: list[str]) -> str:
    if not arguments:
        raise WrongUse("give at least one file.")
    await host.attach(arguments)
    return f"Attached: {', '.join(arguments)}"


COMMANDS = {"finish": (finish, True), "hibernate": (hibernate, True), "attach": (attach, False)}


def commands(host: Host) -> dict[str, Command]:
    """The commands for the shell, by name."""
    return {name: _command(host, name) for name in COMMANDS}


def _command(host: Host, name: str) -> Command:
    act, ends = COMMANDS[name]

    async def called(arguments: list[str]) -> Ran:
        try:
            return Ran(f"{await act(host, arguments)}\n", ends=ends)
        except WrongUse as error:
            return Ran(f"{name}: {error}\n", 2)
        except Refused as error:
            return Ran(f"{name}: not accepted. {error}\n", 1)

    return called
