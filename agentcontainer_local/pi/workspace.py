"""A task's initial workspace: TASK.md, HARNESS.md and its input files."""

from agentcontainer_local import schemas
from agentcontainer_local.pi.harness import harness
from agentcontainer_local.pi.inputs import Input
from agentcontainer_local.store import agents, files, tasks
from agentcontainer_local.store.db import Database, Row, row
from agentcontainer_local.store.rows import Message, Task


def inputs(db: Database, task: Task) -> list[Input]:
    """All files of the task's initial workspace."""
    given = _placed("task_files", tasks.inputs(db, task["id"]))
    reference = _placed("reference_files", agents.reference_files(db, task["agent_version_id"]))
    return [
        Input("task/TASK.md", "TASK.md", text=task["instructions"]),
        Input("task/HARNESS.md", "HARNESS.md", text=harness(task, given, reference)),
        *given,
        *reference,
    ]


def document(db: Database, task: Task, name: str) -> str | None:
    """One of our documents, by its name at the door."""
    return next((item.text for item in inputs(db, task) if item.name == name), None)


def given_file(db: Database, task: Task, file_id: str) -> Row | None:
    """A single input file. It does not read all of them, because a guest fetches each one separately."""
    return row(
        db,
        "SELECT * FROM files WHERE id = :file"
        " AND (EXISTS (SELECT 1 FROM task_inputs WHERE task_id = :task AND file_id = :file)"
        " OR EXISTS (SELECT 1 FROM agent_version_files WHERE agent_version_id = :version AND file_id = :file)"
        " OR EXISTS (SELECT 1 FROM message_inputs JOIN messages ON messages.id = message_id"
        "   WHERE file_id = :file AND task_id = :task))",
        {"task": task["id"], "version": task["agent_version_id"], "file": file_id},
    )


def paths_of(db: Database, task: Task, message: Message) -> list[str]:
    """The paths of the files that came with a message."""
    if row(db, "SELECT 1 FROM message_inputs WHERE message_id = ?", (message["id"],)) is None:
        return []
    given = _placed("task_files", tasks.inputs(db, task["id"]))
    return [item.path for item in given if item.file is not None and item.file["message"] == message["number"]]


def _placed(folder: str, rows: list[Row]) -> list[Input]:
    taken: dict[str, int] = {}
    return [Input(f"{folder}/{files.free_name(_name(file), taken)}", file["id"], file=file) for file in rows]


def _name(file: Row) -> str:
    """The name in the workspace. A directory is an archive that gets unpacked."""
    name = files.safe_name(file["filename"])
    return files.safe_name(name.removesuffix(".tar")) if file.get("content_type") == schemas.DIRECTORY else name
