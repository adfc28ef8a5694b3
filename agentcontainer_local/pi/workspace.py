"""What a task finds in its folder: TASK.md, HARNESS.md, the files that it was given, and under which names."""

import json
from dataclasses import dataclass

from sqlite_utils import Database

from agentcontainer_local import schemas
from agentcontainer_local.store import agents, tasks
from agentcontainer_local.store.db import Row, row

NAME_BYTES = 255  # what a Linux file system takes


@dataclass(frozen=True)
class Input:
    """Something that the guest fetches: to `path` under /workspace, by its `name` at the door."""

    path: str
    name: str
    text: str | None = None  # a document of ours, else
    file: Row | None = None  # a stored file

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode()) if self.file is None else self.file["size_bytes"]

    def command(self) -> dict:
        command = {"path": self.path, "url": f"/guest/inputs/{self.name}", "sizeBytes": self.size_bytes}
        return {**command, "directory": True} if self.is_directory else command

    @property
    def place(self) -> str:
        return f"{self.path}/" if self.is_directory else self.path

    @property
    def is_directory(self) -> bool:
        return self.file is not None and self.file["content_type"] == schemas.DIRECTORY


def inputs(db: Database, task: Row) -> list[Input]:
    """Everything that the task finds in its workspace when it starts."""
    given = _placed("task_files", tasks.inputs(db, task["id"]))
    reference = _placed("reference_files", agents.reference_files(db, task["agent_version_id"]))
    return [
        Input("task/TASK.md", "TASK.md", text=task["instructions"]),
        Input("task/HARNESS.md", "HARNESS.md", text=harness(task, given, reference)),
        *given,
        *reference,
    ]


def document(db: Database, task: Row, name: str) -> str | None:
    """One of ours, by its name at the door."""
    return next((item.text for item in inputs(db, task) if item.name == name), None)


def given_file(db: Database, task: Row, file_id: str) -> Row | None:
    """This one of them; without a look at all of them, for a guest fetches each by itself."""
    return row(
        db,
        "SELECT * FROM files WHERE id = :file"
        " AND (EXISTS (SELECT 1 FROM task_inputs WHERE task_id = :task AND file_id = :file)"
        " OR EXISTS (SELECT 1 FROM agent_version_files WHERE agent_version_id = :version AND file_id = :file)"
        " OR EXISTS (SELECT 1 FROM message_inputs JOIN messages ON messages.id = message_id"
        "   WHERE file_id = :file AND task_id = :task))",
        {"task": task["id"], "version": task["agent_version_id"], "file": file_id},
    )


def paths_of(db: Database, task: Row, message: Row) -> list[str]:
    """Where the files that came with a message lie."""
    if row(db, "SELECT 1 FROM message_inputs WHERE message_id = ?", (message["id"],)) is None:
        return []
    given = _placed("task_files", tasks.inputs(db, task["id"]))
    return [item.path for item in given if item.file["message"] == message["number"]]


def _placed(folder: str, files: list[Row]) -> list[Input]:
    taken: dict[str, int] = {}
    return [Input(f"{folder}/{free_name(_name(file), taken)}", file["id"], file=file) for file in files]


def _name(file: Row) -> str:
    """A directory came as an archive, and is unpacked."""
    name = safe_name(file["filename"])
    return safe_name(name.removesuffix(".tar")) if file.get("content_type") == schemas.DIRECTORY else name


def safe_name(filename: str) -> str:
    """A name for one file in one folder, whatever it was called: no slash, no NUL or line break, at most 255 bytes."""
    kept = "".join("_" if c in "/\\" or ord(c) < 32 or ord(c) == 127 else c for c in filename).strip()
    if kept in ("", ".", ".."):
        return "file"
    stem, dot, extension = kept.rpartition(".")
    ending = f"{dot}{extension}" if stem and len(extension.encode()) < 32 else ""
    return _clipped(kept.removesuffix(ending), NAME_BYTES - 8 - len(ending.encode())) + ending


def _clipped(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def free_name(name: str, taken: dict[str, int]) -> str:
    """`report.csv`, or `report-2.csv` and so on where that name is taken; `taken` remembers how far that has come."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    count, free = taken.get(name, 1), name
    while free in taken:
        count += 1
        free = f"{stem}-{count}{dot}{extension}"
    taken[name], taken[free] = count, taken.get(free, 1)
    return free


POLICIES = {
    "any": "Hand over any files that the task asks for, or none.",
    "none": "This task hands over no files: call `finish` without any.",
    "at_least_one": "Hand over at least one file.",
}


def harness(task: Row, given: list[Input], reference: list[Input]) -> str:
    """HARNESS.md: how work is done here, for an agent that has never seen this place."""
    policy = json.loads(task["output_policy"])
    files = "".join(f"- `~/{item.place}` ({item.size_bytes} bytes)\n" for item in (*given, *reference)) or "- none\n"
    conversation = task["mode"] == "conversation"
    return f"""# How work is done here

You work in a Linux container of your own, in `/workspace`, which is also your home directory.
The task is in `~/TASK.md`. {_network(task)}

## Files that came with the task
{files}
{(ANSWERING if conversation else ENDING).format(outputs=_outputs(policy))}"""


def _network(task: Row) -> str:
    if task["internet_access"]:
        return "You have access to the internet."
    if allowed := json.loads(task["allowed_hosts"]):
        names = ", ".join(f"`{name}`" for name in allowed)
        return (
            "There is no network here but an HTTP proxy, which the usual variables (`https_proxy` and so on) name."
            f" It reaches these hosts and no others: {names}."
        )
    return "There is no network here."


ANSWERING = """## Answering
This is a conversation: answer each message in words, and then stop; the next message comes when the user has read it.
Files that the user should get with the answer are given with `attach FILE…` before you answer. Files in `/workspace`
are kept from message to message; programs that run in the background may not be.

## Ending the conversation
When the user asks you to end it, or to finish, call `finish` instead of an answer: no further message comes then.
If it is refused, it says why: mend that, and call it again.

    finish --complete-task --message "What was done" FILE…

{outputs}"""
ENDING = """## Ending the task
The task ends only when the command `finish` is accepted. If it is refused, it says why: mend that, and call it again.

    finish --complete-task --message "What was done" FILE…
    finish --incomplete-task --message "What is missing, and why" FILE…

A directory in the place of a file is handed over as one archive.

`--incomplete-task` is for work that cannot be done in full.

{outputs}
## Waiting for something
If there is nothing to do until a later time or an outside event, call `hibernate --for 2h --message "why"` or
`hibernate --until 2030-01-01T00:00:00Z`. Your files and this conversation are kept; running programs are not.
"""


def _outputs(policy: dict) -> str:
    if policy["mode"] != "named":
        return f"{POLICIES[policy['mode']]}\n"
    about = {output["name"]: output.get("description") or "" for output in policy["files"]}
    wanted = "".join(f"- `{name}`" + (f": {text}" if text else "") + "\n" for name, text in about.items())
    flags = " ".join(f"--output {name}=PATH" for name in about)
    command = f'    finish --complete-task --message "What was done" {flags}\n'
    return f"These outputs are required, each by its name; further files need no name:\n{wanted}\n{command}"
