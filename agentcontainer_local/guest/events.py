"""Events from the guest: validated, and stored once even if they are sent again."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from agentcontainer_local import lifecycle
from agentcontainer_local.errors import Conflict, Invalid, TooLarge
from agentcontainer_local.guest.door import Door
from agentcontainer_local.guest.responses import answering, body_of
from agentcontainer_local.http.json_size import has_more_values
from agentcontainer_local.pi import errors
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import events as history
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Database, parse_iso
from agentcontainer_local.store.rows import Run, Task

MAX_BATCH_BYTES = 2 * 1024**2  # the guest sends 1 MiB, or one event that is longer
MAX_BATCH_LINES = 1000  # lines of a batch; the guest splits larger ones
SLICE_LINES, SLICE_BYTES = 20, 64 * 1024  # of a batch; between two slices other work proceeds
MAX_LINE_VALUES = 70_000  # more than the largest tool input has
MAX_OPEN_TOOL_CALLS = 100  # all open calls are closed at once when the task ends
MAX_INPUT_BYTES = 128 * 1024  # of a tool's input; the guest omits inputs of more than half of this

Line = Annotated[str, Field(max_length=2000)]
Text = Annotated[str, Field(max_length=300_000)]


class Ready(BaseModel):
    type: Literal["ready"]


class PiFailed(BaseModel):
    """`late`: Pi did not start in time, so a restart may help."""

    type: Literal["pi_failed"]
    message: Text
    late: bool = False


class Prompted(BaseModel):
    type: Literal["prompted"]
    id: Line


class Refused(BaseModel):
    type: Literal["refused"]
    id: Line
    message: Text


class Said(BaseModel):
    type: Literal["message"]
    text: Text
    stopReason: Line
    errorMessage: Text | None = None


def _plain_and_small(input: Any) -> Any:
    """The input is passed on as JSON, which has no NaN."""
    if len(json.dumps(input, ensure_ascii=False, allow_nan=False).encode()) > MAX_INPUT_BYTES:
        raise ValueError(f"an input may have at most {MAX_INPUT_BYTES} bytes")
    return input


class ToolStarted(BaseModel):
    type: Literal["tool_started"]
    callId: Line
    tool: Line
    input: Annotated[Any, AfterValidator(_plain_and_small)] = None
    inputOmittedReason: Line | None = None


class ToolOutput(BaseModel):
    """The latest output of a running command."""

    type: Literal["tool_output"]
    callId: Line
    text: Annotated[str, Field(max_length=16 * 1024)]


class ToolEnded(BaseModel):
    type: Literal["tool_ended"]
    callId: Line
    failed: bool
    output: Text = ""


class Settled(BaseModel):
    type: Literal["settled"]


class Noticed(BaseModel):
    type: Literal["retrying", "compacted", "extension_error"]
    attempt: int | None = None
    delayMs: int | None = None
    message: Text | None = None
    reason: Line | None = None


class PiExited(BaseModel):
    type: Literal["pi_exited"]
    code: int | None = None
    signal: Line | None = None
    stderr: Text = ""


class Delta(BaseModel):
    type: Literal["delta"]
    text: Text


Event = Annotated[
    Ready
    | PiFailed
    | Prompted
    | Refused
    | Said
    | ToolStarted
    | ToolOutput
    | ToolEnded
    | Settled
    | Noticed
    | PiExited
    | Delta,
    Field(discriminator="type"),
]


class Numbered(BaseModel):
    seq: Annotated[int, Field(ge=1, le=2**53)] | None = None
    at: Annotated[int, Field(ge=0, le=2**53)] | None = None  # Unix ms
    event: Event


NUMBERED = TypeAdapter(Numbered)


@answering
async def events(request: Request, door: Door) -> dict[str, Any]:
    """POST /guest/events: NDJSON in. Returns the number up to which all events are stored."""
    batches = []
    for lines in slices(lines_of(await body_of(request, MAX_BATCH_BYTES))):
        async with door.host.in_turn():
            batches.append((lines, parse(lines)))
    failpoints.point("events.received")
    for lines, batch in batches:
        async with door.host.in_turn():
            ack = _take(door, lines, batch)
    return {"ack": ack}


def _take(door: Door, lines: list[bytes], batch: list[Numbered]) -> int:
    door.reported_bytes += sum(len(line) for line, one in zip(lines, batch, strict=True) if one.seq is not None)
    ack = record(door.host.db, door.task_id, door.run_id, batch, door.host.settings.max_events, door.host.now())
    failpoints.point("events.recorded")
    _check_size(door)
    for numbered in batch:
        if isinstance(numbered.event, Delta):
            door.host.live.say(door.task_id, numbered.event.text)
        elif isinstance(numbered.event, Said | Prompted):
            door.host.live.forget(door.task_id)  # the complete text is stored
    door.host.keep_words_soon(door.task_id)
    return ack


def slices(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Splits the lines into parts that are processed quickly. At least one part, which may be empty."""
    part: list[bytes] = []
    for line in lines:
        if part and (len(part) == SLICE_LINES or sum(map(len, part)) + len(line) > SLICE_BYTES):
            yield part
            part = []
        part.append(line)
    yield part


def lines_of(body: bytes) -> list[bytes]:
    """Raises TooLarge for too many lines, which would block other work."""
    if body.count(b"\n") > MAX_BATCH_LINES:
        raise TooLarge(f"More than {MAX_BATCH_LINES} events at once are refused.")
    return [line for line in body.split(b"\n") if line.strip()]


def parse(lines: list[bytes]) -> list[Numbered]:
    """Raises Invalid at the first line that is not an event."""
    if any(len(line) > SLICE_BYTES and has_more_values(line, MAX_LINE_VALUES) for line in lines):
        raise TooLarge(f"An event with more than {MAX_LINE_VALUES} values is refused.")
    try:
        batch = [NUMBERED.validate_json(line) for line in lines]
    except ValidationError as error:
        raise Invalid("Not an event: " + error.errors(include_url=False)[0]["msg"]) from None
    if any(one.seq is None and not isinstance(one.event, Delta | ToolOutput) for one in batch):
        raise Invalid("Not an event: it has no number, `seq`.")
    return batch


def _check_size(door: Door) -> None:
    """Limits the size of an agent's stored events, counted since this server serves the run."""
    most = door.host.settings.max_event_bytes
    if door.reported_bytes > most and tasks.get(door.host.db, door.task_id)["status"] not in lifecycle.TERMINAL:
        error = f"The agent's events have more than {most} bytes, the limit of --max-event-bytes."
        tasks.apply(door.host.db, door.task_id, "failed", door.host.now(), error=error)


def record(db: Database, task_id: str, run_id: str, batch: list[Numbered], max_events: int, now: datetime) -> int:
    """Stores the new events of the batch in one transaction. Raises Conflict if the run is over.

    Only a batch with the end of a turn waits for the disk: after a loss of power, what Pi wrote a moment before is lost
    too.
    """
    ends = any(isinstance(numbered.event, Settled | PiExited | PiFailed | Refused) for numbered in batch)
    with db.atomic(survives_power_loss=ends):
        task, run = tasks.get(db, task_id), tasks.open_run(db, task_id)
        if run is None or run["id"] != run_id:
            raise Conflict("This run is over.")
        ack: int = run["guest_seq"]
        latest = {one.event.callId: one for one in batch if isinstance(one.event, ToolOutput)}
        for numbered in batch:
            event = numbered.event
            if numbered.seq is None and isinstance(event, ToolOutput) and latest[event.callId] is numbered:
                transcript.tool_printed(db, task, event.callId, event.text)
            if numbered.seq is not None and numbered.seq > ack:
                ack = numbered.seq
                if task["status"] not in lifecycle.TERMINAL:
                    _write(db, task, run, numbered, now)
        failpoints.point("events.recording")
        tasks.runs.reported(db, run_id, ack)
    if task["status"] not in lifecycle.TERMINAL and (error := _excess(db, task_id, ack, max_events)):
        tasks.apply(db, task_id, "failed", now, error=error)
    return ack


def _excess(db: Database, task_id: str, ack: int, max_events: int) -> str | None:
    if ack > max_events:
        return f"The agent reported more than {max_events} events, the limit of --max-events."
    if transcript.open_activities(db, task_id) > MAX_OPEN_TOOL_CALLS:
        return f"The agent had more than {MAX_OPEN_TOOL_CALLS} open tool calls, which is the limit."
    return None


def _write(db: Database, task: Task, run: Run, numbered: Numbered, now: datetime) -> None:
    match event := numbered.event:
        case Prompted():
            tasks.runs.prompted(db, run["id"], now)
            if tasks.at_work(db, run["id"]):  # otherwise the next run has to tell the agent
                db.conn.execute("UPDATE tasks SET to_tell = NULL WHERE id = ?", (task["id"],))
            failpoints.point("prompt.delivered")
            transcript.delivered(db, task, run, event.id, now)
            tasks.turn_runs(db, task, now)
        case Said():
            transcript.take_unfinished(db, task["id"])
            error = _why(db, task, event.errorMessage) if event.stopReason in ("error", "aborted") else None
            if error:
                transcript.interrupted(db, task, event.text, error, now)
            elif event.text.strip():
                transcript.said(db, task, event.text, now)
            tasks.runs.spoke(db, run["id"], now, error if event.stopReason == "error" else None)
            if event.stopReason == "stop":
                _alive(db, task)
        case ToolStarted():
            transcript.tool_started(db, task, event.model_dump(), _happened(numbered.at, run, now), now)
        case ToolOutput():
            transcript.tool_printed(db, task, event.callId, event.text)
        case ToolEnded():
            transcript.tool_ended(db, task, event.model_dump(), _happened(numbered.at, run, now), now)
            _alive(db, task)
        case Settled():
            tasks.runs.settled(db, run["id"], now)
        case PiFailed(late=True):
            tasks.runs.lost_pi(db, run["id"], event.message)
        case PiFailed() | Refused():
            tasks.runs.settled(db, run["id"], now, event.message)
        case PiExited():
            how = f"signal {event.signal}" if event.signal else f"exit code {event.code}"
            words = f"Pi ended with {how}. {event.stderr}".strip()
            tasks.runs.lost_pi(db, run["id"], words)
        case Noticed():
            facts = json.loads(event.model_dump_json(exclude_none=True)) | _told_of(db, task, event)
            history.append(db, task["id"], history.NOTICE, {"kind": facts.pop("type"), **facts}, now)


def _why(db: Database, task: Task, error: str | None) -> str:
    """The error of a failed model call, in our words if possible, because Pi's are meant for Pi."""
    if refused := errors.refused(error):
        return refused
    if failed := tasks.failed_before(db, task):
        return str(failed["error"])
    return errors.plain(error) if error else "The answer was cut off."


def _told_of(db: Database, task: Task, event: Noticed) -> dict[str, Any]:
    """The attempt and error from the rows. Pi counts attempts from 1 after each prompt; the rows count failures in a
    row."""
    failed = tasks.failed_before(db, task) if event.type == "retrying" else None
    return {"attempt": failed["attempt"], "message": failed["error"]} if failed else {}


def _happened(at: int | None, run: Run, now: datetime) -> datetime:
    """The time that the guest reported, because the server may get the event late. Limited to the run's duration."""
    if at is None:
        return now
    earliest, latest = parse_iso(run["created_at"]).timestamp(), now.timestamp()
    return datetime.fromtimestamp(min(max(earliest, at / 1000), latest), UTC)


def _alive(db: Database, task: Task) -> None:
    """Resets the count of deaths, because there was progress."""
    if task["deaths"]:
        db.conn.execute("UPDATE tasks SET deaths = 0 WHERE id = ?", (task["id"],))
