"""Output files of an agent: the claim is checked, the files arrive, and the delivery is accepted completely or not at
all."""

import json
import mimetypes
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.errors import Conflict, Invalid, NotFound, TooLarge
from agentcontainer_local.guest.door import Door
from agentcontainer_local.guest.responses import answering, body_of
from agentcontainer_local.http.json_size import has_more_values
from agentcontainer_local.process import disk_space, failpoints
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import accounts, db, files, tasks, transcript
from agentcontainer_local.store.rows import Task

MAX_CLAIM_BYTES = 1024**2
MAX_CLAIM_VALUES = 60_000  # for ten thousand files
MAX_STAGED_CLAIMS = 4  # concurrent claims of one run; their total size is limited to that of one


class ClaimedFile(BaseModel):
    path: Annotated[str, Field(max_length=4096)]
    filename: Annotated[str, Field(min_length=1, max_length=1000)]
    sizeBytes: Annotated[int, Field(ge=0, le=2**53)]
    outputName: Annotated[str, Field(max_length=200)] | None = None
    directory: bool = False  # a directory, packed as an archive


class Finish(BaseModel):
    kind: Literal["finish"]
    completion: Literal["complete", "incomplete"]
    message: Annotated[str, Field(min_length=1, max_length=100_000)]
    files: list[ClaimedFile] = []


class Attach(BaseModel):
    kind: Literal["attach"]
    files: Annotated[list[ClaimedFile], Field(min_length=1)]


CLAIM = TypeAdapter(Annotated[Finish | Attach, Field(discriminator="kind")])


@dataclass
class Staged:
    """An accepted claim and the files received for it, by index. No row names these files yet."""

    claim: Finish | Attach
    root: Path
    key: str | None  # identifies the delivery, so that it is not accepted twice
    received: dict[int, files.Incoming] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return _size(self.claim)

    def take(self, index: int, incoming: files.Incoming) -> None:
        if (before := self.received.get(index)) is not None:
            files.discard(self.root, [before.name])
        self.received[index] = incoming

    def discard(self) -> None:
        files.discard(self.root, (incoming.name for incoming in self.received.values()))


@answering
async def begin(request: Request, door: Door) -> dict[str, Any]:
    """Checks a claim before its files are sent."""
    claim = _claim(await body_of(request, MAX_CLAIM_BYTES))
    task = tasks.get(door.host.db, door.task_id)
    if _was_delivered(door, key := _key(request)):
        return {"id": "out_done", "done": True}
    _check_moment(task, claim)
    _check_claim(door, task, claim)
    _check_quota(door, task, _size(claim))
    _make_room(door, claim)
    failpoints.point("outputs.claimed")
    id = door.host.db.ids.new("out", door.task_id)
    door.staged[id] = Staged(claim, door.host.files, key)
    return {"id": id}


def _check_claim(door: Door, task: Task, claim: Finish | Attach) -> None:
    """Checks the claim. Attachments of one answer count together; otherwise an agent could fill the disk by attaching a
    file repeatedly."""
    attached = _attached(door, task) if isinstance(claim, Attach) else (0, 0)
    if reason := refusal(task, claim, door.host.settings, *attached):
        raise Invalid(reason)


def _attached(door: Door, task: Task) -> tuple[int, int]:
    """The number and bytes of the files that the current answer has already."""
    sql = (
        "SELECT count(*) AS files, coalesce(sum(size_bytes), 0) AS bytes FROM task_outputs"
        " JOIN files ON files.id = file_id WHERE message_id = ?"
    )
    answer = transcript.answer_of(door.host.db, task)
    found = db.single(door.host.db, sql, (answer and answer["id"],))
    return found["files"], found["bytes"]


def _make_room(door: Door, claim: Finish | Attach) -> None:
    """Limits the disk space of unfinished claims to that of one delivery: drops the oldest claims."""
    most = door.host.settings.max_output_bytes - _size(claim)
    while len(door.staged) >= MAX_STAGED_CLAIMS or sum(staged.size_bytes for staged in door.staged.values()) > most:
        door.staged.pop(next(iter(door.staged))).discard()
    if claim.files and _size(claim) > disk_space.room(door.host.settings.data):
        raise Invalid(f"The server's disk has no space for {_size(claim)} bytes. Hand over less, or wait.")


def _size(claim: Finish | Attach) -> int:
    return sum(file.sizeBytes for file in claim.files)


def _check_quota(door: Door, task: Task, more_bytes: int) -> None:
    try:
        accounts.check_file_quota(door.host.db, task["account_id"], more_bytes, door.host.settings)
    except TooLarge as problem:
        raise Invalid(f"{problem.message} Hand over less, or finish without files.") from None


def _key(request: Request) -> str | None:
    return request.headers.get("idempotency-key", "")[:100] or None


def _was_delivered(door: Door, key: str | None) -> bool:
    """Whether this delivery was accepted. The guest asks again if the answer was lost in a restart."""
    sql = "SELECT 1 FROM deliveries WHERE task_id = ? AND key = ?"
    return key is not None and db.row(door.host.db, sql, (door.task_id, key)) is not None


def _claim(body: bytes) -> Finish | Attach:
    if has_more_values(body, MAX_CLAIM_VALUES):
        raise TooLarge(f"A claim with more than {MAX_CLAIM_VALUES} values is refused.")
    try:
        return CLAIM.validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise Invalid(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def _check_moment(task: Task, claim: Finish | Attach) -> None:
    if task["status"] != lifecycle.RUNNING:
        raise Conflict(f"The task is {task['status']}.")
    if isinstance(claim, Attach) and task["mode"] == "autonomous":
        raise Conflict("This is not a conversation. Hand files over with `finish`.")


def refusal(
    task: Task, claim: Finish | Attach, settings: Settings, files_before: int = 0, bytes_before: int = 0
) -> str | None:
    """Why the claim is refused, as a message for the agent; None if it is not refused."""
    if (count := files_before + len(claim.files)) > settings.max_output_files:
        return f"{count} files are too many. At most {settings.max_output_files} may be handed over."
    for file in claim.files:
        if file.sizeBytes > settings.max_file_bytes:
            return f"{file.path} has {file.sizeBytes} bytes: a file may have {settings.max_file_bytes} at most."
    if (total := bytes_before + _size(claim)) > settings.max_output_bytes:
        return f"The files have {total} bytes together: {settings.max_output_bytes} at most."
    policy = json.loads(task["output_policy"]) if isinstance(claim, Finish) else {"mode": "any"}
    return _against_policy(policy, claim)


def _against_policy(policy: dict[str, Any], claim: Finish | Attach) -> str | None:
    """Checks the claim against the output policy. Attachments can't have output names."""
    complete = isinstance(claim, Finish) and claim.completion == "complete"
    named = [file.outputName for file in claim.files if file.outputName is not None]
    if policy["mode"] == "named":
        return _against_names([output["name"] for output in policy["files"]], named, complete)
    if named:
        return "--output needs a task with named outputs. Give the files without names."
    if policy["mode"] == "none" and claim.files:
        return "This task must not hand over files. Call finish without files."
    if policy["mode"] == "at_least_one" and complete and not claim.files:
        return "This task must hand over at least one file. Name it after the message."
    return None


def _against_names(wanted: list[str], named: list[str], complete: bool) -> str | None:
    use = "use " + " ".join(f"--output {name}=PATH" for name in wanted)
    if unknown := [name for name in named if name not in wanted]:
        return f"There is no output named {', '.join(unknown)}: {use}."
    if len(set(named)) < len(named):
        return f"Every output is given once: {use}."
    if complete and (missing := [name for name in wanted if name not in named]):
        return f"Required outputs are missing: {', '.join(missing)}; {use}."
    return None


@answering
async def receive(request: Request, door: Door) -> dict[str, Any]:
    """Receives one file. Its size must be the claimed one."""
    staged = _staged(door, request)
    index = request.path_params["index"]
    if index >= len(staged.claim.files):
        raise NotFound(f"The claim has no file {index}.")
    claimed = staged.claim.files[index]
    id = door.host.db.ids.new("file", door.task_id)
    async with door.receiving, files.receiving(door.host.files, id, claimed.sizeBytes) as incoming:
        async for chunk in request.stream():
            _staged(door, request)  # stops if the claim was dropped or accepted meanwhile
            await incoming.write(chunk)
        if incoming.size != claimed.sizeBytes:
            raise Invalid(f"{claimed.path}: {incoming.size} bytes came, and {claimed.sizeBytes} were announced.")
    if request.path_params["id"] not in door.staged:
        files.discard(door.host.files, [incoming.name])
    _staged(door, request).take(index, incoming)
    return {}


@answering
async def commit(request: Request, door: Door) -> dict[str, Any]:
    """Accepts the delivery: stores the files and the task's new status in one transaction."""
    staged = _staged(door, request)
    if missing := [file.path for index, file in enumerate(staged.claim.files) if index not in staged.received]:
        raise Invalid(f"These files did not arrive: {', '.join(missing)}.")
    _check_moment(tasks.get(door.host.db, door.task_id), staged.claim)
    failpoints.point("outputs.received")
    _write(door, staged, door.host.now())
    failpoints.point("outputs.committed")
    del door.staged[request.path_params["id"]]
    return {}


def _staged(door: Door, request: Request) -> Staged:
    staged: Staged | None = door.staged.get(request.path_params["id"])
    if staged is None:
        raise NotFound("Unknown delivery. Call finish again.")
    return staged


def _write(door: Door, staged: Staged, now: datetime) -> None:
    store, claim = door.host.db, staged.claim
    with store.atomic():
        task = tasks.get(store, door.task_id)
        _check_claim(door, task, claim)  # again, because other claims may have been accepted meanwhile
        _check_quota(door, task, _size(claim))
        message_id = _answer_of(door, task, claim, now) if task["mode"] == "conversation" else None
        if staged.key is not None:
            store.conn.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?)", (task["id"], staged.key))
        for index, claimed in enumerate(claim.files):
            came, filename = staged.received[index], files.safe_name(claimed.filename)
            content_type = schemas.DIRECTORY if claimed.directory else mimetypes.guess_type(filename)[0]
            file = files.add(store, task["account_id"], filename, content_type, came.name, came.size, came.sha256, now)
            store.conn.execute(
                "INSERT INTO task_outputs (task_id, file_id, output_name, message_id) VALUES (?, ?, ?, ?)",
                (task["id"], file["id"], claimed.outputName, message_id),
            )
            store.touched(task["id"])
        failpoints.point("outputs.written")
        if isinstance(claim, Finish):
            tasks.apply(store, task["id"], "finished", now, result=claim.message, completion=claim.completion)


def _answer_of(door: Door, task: Task, claim: Finish | Attach, now: datetime) -> str:
    """The answer that the files belong to. It is often created by them, before its first text.

    If a turn without text ends the conversation, the answer is the message of `finish`.
    """
    store = door.host.db
    answer = transcript.answer_of(store, task)
    if isinstance(claim, Finish) and not (answer and answer["content"]):
        transcript.said(store, task, claim.message, now)
        answer = transcript.answer_of(store, task)
    if answer is None:
        return transcript.add(store, task, "assistant", "", "running", now)
    return str(answer["id"])
