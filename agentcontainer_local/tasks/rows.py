"""Finding tasks, and the files that go in and come out of them."""

from sqlite_utils import Database

from agentcontainer_local.db import Row, row, rows
from agentcontainer_local.errors import NotFound


def get(db: Database, task_id: str) -> Row:
    """For the engine, which has the id from a row; raises LookupError."""
    found = row(db, "SELECT * FROM tasks WHERE id = ?", (task_id,))
    if found is None:
        raise LookupError(task_id)
    return found


def owned(db: Database, account_id: str, task_id: str) -> Row:
    found = row(db, "SELECT * FROM tasks WHERE id = ? AND account_id = ?", (task_id, account_id))
    if found is None:
        raise NotFound(f"There is no task {task_id}.")
    return found


def page(
    db: Database, account_id: str, *, agent_id: str | None, status: str | None, limit: int, after: int | None,
    ascending: bool,
) -> list[Row]:
    """At most `limit` of the account's tasks beyond the one with number `after`, newest first unless ascending."""
    wanted = {"account": account_id, "agent": agent_id, "status": status, "after": after, "limit": limit}
    return rows(db, _page_sql(agent_id, status, after, ascending), wanted)


def _page_sql(agent_id: str | None, status: str | None, after: int | None, ascending: bool) -> str:
    """Only the conditions in use, so that SQLite takes the index that serves them."""
    where = ["account_id = :account"]
    if agent_id is not None:
        where.append("agent_id = :agent")
    if status is not None:
        where.append("status = :status")
    if after is not None:
        where.append("number > :after" if ascending else "number < :after")
    order = "ASC" if ascending else "DESC"
    return f"SELECT * FROM tasks WHERE {' AND '.join(where)} ORDER BY number {order} LIMIT :limit"


def with_status(db: Database, *statuses: str) -> list[Row]:
    """All tasks in one of these statuses, oldest first."""
    marks = ", ".join("?" * len(statuses))
    return rows(db, f"SELECT * FROM tasks WHERE status IN ({marks}) ORDER BY number", statuses)


def inputs(db: Database, task_id: str) -> list[Row]:
    """The files that the task was given, in their order."""
    return rows(
        db,
        "SELECT files.* FROM task_inputs JOIN files ON files.id = file_id WHERE task_id = ? ORDER BY position",
        (task_id,),
    )


def outputs(db: Database, task_id: str, limit: int, after: int | None, ascending: bool) -> list[Row]:
    """Files that the agent handed over, with `output_name`; `number` is the place in the list."""
    compare, order = ("number > ", "ASC") if ascending else ("number < ", "DESC")
    beyond = f" AND task_outputs.{compare} :after" if after is not None else ""
    return rows(
        db,
        "SELECT files.*, task_outputs.output_name, task_outputs.number AS number FROM task_outputs"
        f" JOIN files ON files.id = file_id WHERE task_id = :task{beyond}"
        f" ORDER BY task_outputs.number {order} LIMIT :limit",
        {"task": task_id, "after": after, "limit": limit},
    )


def ended_with_workspace(db: Database) -> list[Row]:
    """Ended tasks whose volumes have not been removed yet."""
    return rows(
        db, "SELECT * FROM tasks WHERE completed_at IS NOT NULL AND workspace_removed_at IS NULL ORDER BY number"
    )
