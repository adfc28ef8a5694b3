"""Scripts as JSON, for suites in other languages: the body of `POST /testing/scripts`."""

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from agentcontainer_local.errors import Invalid
from agentcontainer_local.schemas.base import Request, Shape
from agentcontainer_local.testing import steps
from agentcontainer_local.testing.scripts import BadScript, Match, Script, Scripts


class Base64(Request):
    base64: str


Content = Annotated[str | Base64, Field(description='Content of a file: text, or `{"base64": …}`.')]


class Pattern(Request):
    pattern: str = Field(description="Regular expression, as in Python, that is searched in the text.")


class ToolBody(Request):
    command: str
    output: str | None = Field(None, description="What the call prints; without it, the command is run.")
    exit_code: int = 0


class OutputBody(Request):
    filename: str
    content: Content


class FinishBody(Request):
    message: str = "Done"
    files: dict[str, Content] = {}
    outputs: dict[str, OutputBody] = {}
    incomplete: bool = False


class StepBody(Request):
    """Exactly one of these."""

    say: str | None = None
    tool: ToolBody | None = None
    wait: float | None = Field(None, description="Seconds.")
    hibernate: float | None = Field(None, description="Seconds.")
    attach: dict[str, Content] | None = None
    finish: FinishBody | None = None
    fail: str | None = Field(None, description="Error of the model provider.")
    die: Literal[True] | None = None


class ScriptBody(Request):
    """`steps`, or for a conversation `turns`: a list of steps for each message. The rest chooses the tasks."""

    steps: list[StepBody] | None = None
    turns: list[list[StepBody]] | None = None
    name: str | None = None
    agent: str | None = Field(None, description="Id or name.")
    instructions: str | Pattern | None = None
    model: str | Pattern | None = None
    metadata: dict[str, Any] | None = None
    times: int | None = None


class Added(Shape):
    name: str


def add(scripts: Scripts, body: ScriptBody) -> Script:
    """Raises Invalid."""
    if (body.steps is None) == (body.turns is None):
        raise Invalid("Give either steps or turns.")
    try:
        given = [_step(one) for one in body.steps or ()]
        turns = [[_step(one) for one in turn] for turn in body.turns or ()]
        return scripts.add(
            *(given or turns),
            name=body.name,
            agent=body.agent,
            instructions=_match("instructions", body.instructions),
            model=_match("model", body.model),
            metadata=body.metadata,
            times=body.times,
        )
    except (BadScript, ValueError) as error:
        raise Invalid(str(error)) from None


def _step(body: StepBody) -> steps.Step:
    given = {name: value for name, value in body if value is not None}
    if len(given) != 1:
        raise ValueError(f"A step has {len(given)} of say, tool, wait, …. Give exactly one.")
    match next(iter(given.items())):
        case ("tool", ToolBody() as tool):
            return steps.tool(tool.command, tool.output, tool.exit_code)
        case ("attach", dict() as files):
            return steps.attach(_contents(files))
        case ("finish", FinishBody() as one):
            outputs = {name: (output.filename, _content(output.content)) for name, output in one.outputs.items()}
            return steps.finish(one.message, _contents(one.files), outputs, one.incomplete)
        case ("die", _):
            return steps.die()
        case (name, value):
            plain = {"say": steps.say, "wait": steps.wait, "hibernate": steps.hibernate, "fail": steps.fail}
            made: steps.Step = plain[name](value)  # type: ignore[operator]
            return made


def _contents(files: dict[str, Any]) -> dict[str, bytes]:
    return {name: _content(content) for name, content in files.items()}


def _content(content: str | Base64) -> bytes:
    if isinstance(content, str):
        return content.encode()
    try:
        return base64.b64decode(content.base64, validate=True)
    except binascii.Error:
        raise ValueError("The content of a file is not valid base64.") from None


def _match(field: str, given: str | Pattern | None) -> Match | None:
    if not isinstance(given, Pattern):
        return given
    try:
        return re.compile(given.pattern)
    except re.error as error:
        raise Invalid.field(f"{field}.pattern", f"Not a regular expression: {error}") from None
