"""The tools of a simulated agent: those of Pi's that need no program, and our additions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agentcontainer_local.sandbox.simulated.commands import Host, Refused, WrongUse, asleep, attach, commands
from agentcontainer_local.sandbox.simulated.files import FileProblem, Kept
from agentcontainer_local.sandbox.simulated.shell import Ran, Shell

NOT_HERE = "This tool is not simulated. Use bash, read, write or edit."


@dataclass(frozen=True)
class Result:
    """A tool's result. `ends`: it ends the run. `died`: it ended the agent's program."""

    text: str
    failed: bool = False
    ends: bool = False
    died: str | None = None


class Tools:
    """`outputs`: returns the result of a bash block, if a test defines it."""

    def __init__(
        self,
        host: Host,
        kept: Kept,
        sleep: Callable[[float], Awaitable[None]],
        outputs: Callable[[str], Ran | str | None],
    ):
        self._host = host
        self._kept = kept
        self._shell = Shell(kept, commands(host), sleep)
        self._outputs = outputs

    async def call(self, name: str, given: Any) -> Result:
        given = given if isinstance(given, dict) else {}
        try:
            return await TOOLS.get(name, Tools._unknown)(self, given)
        except (Refused, WrongUse, FileProblem) as error:
            return Result(str(error), failed=True)
        except (KeyError, TypeError, AttributeError) as error:
            return Result(f"Wrong arguments: {error}", failed=True)

    async def _unknown(self, given: dict[str, Any]) -> Result:
        return Result(NOT_HERE, failed=True)

    async def _bash(self, given: dict[str, Any]) -> Result:
        told = self._outputs(given["command"])
        ran = Ran(told) if isinstance(told, str) else told or await self._shell.run(given["command"])
        text = ran.output or "(no output)"
        if ran.code:
            text = f"{text}\n\nCommand exited with code {ran.code}"
        return Result(text, bool(ran.code), ran.ends, ran.died)

    async def _read(self, given: dict[str, Any]) -> Result:
        return Result(self._kept.read(given["path"]).decode(errors="replace"))

    async def _write(self, given: dict[str, Any]) -> Result:
        self._kept.write(given["path"], given["content"].encode(errors="replace"))
        return Result(f"Wrote {given['path']}.")

    async def _edit(self, given: dict[str, Any]) -> Result:
        text, old = self._kept.read(given["path"]).decode(errors="replace"), given["oldText"]
        if text.count(old) != 1:
            raise Refused(f"oldText is in {given['path']} {text.count(old)} times, and has to be there once.")
        self._kept.write(given["path"], text.replace(old, given["newText"]).encode(errors="replace"))
        return Result(f"Edited {given['path']}.")

    async def _finish(self, given: dict[str, Any]) -> Result:
        named = ((one["name"], one["path"]) for one in given.get("outputs", ()))
        files = *((None, path) for path in given.get("files", ())), *named
        await self._host.finish(given["message"], files, given["completion"] == "incomplete")
        return Result(f"Accepted. The task has ended as {given['completion']}.", ends=True)

    async def _hibernate(self, given: dict[str, Any]) -> Result:
        return Result(await asleep(self._host, given), ends=True)

    async def _attach(self, given: dict[str, Any]) -> Result:
        return Result(await attach(self._host, given["files"]))


TOOLS = {
    "bash": Tools._bash,
    "read": Tools._read,
    "write": Tools._write,
    "edit": Tools._edit,
    "finish": Tools._finish,
    "hibernate": Tools._hibernate,
    "attach": Tools._attach,
}


def _described(name: str, description: str, required: list[str], **properties: Any) -> dict[str, Any]:
    types = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in properties.items()}
    parameters = {"type": "object", "properties": types, "required": required}
    return {"name": name, "description": description, "parameters": parameters}


PATHS = {"type": "array", "items": {"type": "string"}}
NAMED = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "path": {"type": "string"}},
        "required": ["name", "path"],
    },
}
EVERYWHERE = [
    _described("bash", "Run a command. It is simulated: few commands are known.", ["command"], command="string"),
    _described("read", "Read a file.", ["path"], path="string"),
    _described("write", "Write a file.", ["path", "content"], path="string", content="string"),
    _described(
        "edit",
        "Replace a text in a file.",
        ["path", "oldText", "newText"],
        path="string",
        oldText="string",
        newText="string",
    ),
]
ENDING = [
    _described(
        "finish",
        "End the task and hand over its output files.",
        ["completion", "message"],
        completion={"type": "string", "enum": ["complete", "incomplete"]},
        message="string",
        files=PATHS,
        outputs=NAMED,
    ),
    _described(
        "hibernate", "Sleep until a time or a message.", [], until="string", message="string", **{"for": "string"}
    ),
]
ANSWERING = [_described("attach", "Add files to your answer.", ["files"], files=PATHS)]


def described(mode: str) -> list[dict[str, Any]]:
    """The descriptions of the tools for the model."""
    return EVERYWHERE + (ANSWERING if mode == "conversation" else ENDING)
