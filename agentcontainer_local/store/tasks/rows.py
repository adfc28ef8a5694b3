"""Queries for tasks, their input files and their output files."""

import re
from collections.abc import Iterator
from datetime import datetime

from agentcontainer_local import lifecycle
from agentcontainer_local.errors import NotFound
from agentcontainer_local.store.db import ALL, Database, Row, dumps, each, iso, row, rows, single
from agentcontainer_local.store.rows import Task


def get(db: Database, task_id: str) -> Task:
    """The task's row. For the engine, which has the id from another row. Raises LookupError."""
    found = row(db, "SELECT * FROM tasks WHERE id = ?", (task_id,), of=Task)
    if found is None:
        raise LookupError(task_id)
    return found


def owned(db: Database, account_id: str, task_id: str) -> Task:
    found = row(db, "SELECT * FROM tasks WHERE id = ? AND account_id = ?", (task_id, account_id), of=Task)
    if found is None:
        raise NotFound(f"There is no task {task_id}.")
    return found


# The columns that the API shows of a task. Not `tasks.*`: sqlite3 describes every column again at each read, which
# takes a third of a GET's time.
ANSWER_COLUMNS = (
    "SELECT number, id, account_id, agent_id, agent_version_id, container_version_id, mode, status, title,"
    " instructions, metadata, overrides, provider_api_key IS NOT NULL AS has_provider_api_key, provider, model,"
    " weak_model, max_cost_microusd, max_tokens, spent_microusd, spent_tokens, runtime_region, session_ttl_seconds,"
    " turn_number, attempt_number, turn_status, hibernate_until, wake_due_id, created_at, started_at, completed_at,"
    " result, completion, error, running_since, used_ms, skills,"
    " max_runtime_seconds, turn_used_ms, (SELECT name FROM agents WHERE id = agent_id) AS agent_name,"
    " (SELECT image FROM container_versions WHERE id = container_version_id) AS image,"
    " (SELECT walls FROM runs WHERE task_id = tasks.id AND walls IS NOT NULL ORDER BY runs.number DESC LIMIT 1)"
    "   AS walls,"
    " CASE WHEN tasks.status = 'pending' THEN"
    "   (SELECT coalesce(sum(pending_blocks.tasks), 0) FROM pending_blocks WHERE block < tasks.number / 128)"
    "   + (SELECT count(*) FROM tasks AS ahead WHERE ahead.status = 'pending'"
    "     AND ahead.number BETWEEN tasks.number / 128 * 128 AND tasks.number) END AS queue_position"
)
WHOLE = f"{ANSWER_COLUMNS} FROM tasks"


def whole(db: Database, task: Task) -> Task:
    """The task with the columns that the API needs from other tables. Reads them in one query if they are missing."""
    return task if "queue_position" in task else single(db, WHOLE + " WHERE tasks.id = ?", (task["id"],), of=Task)


def owned_whole(db: Database, account_id: str, task_id: str) -> Task:
    found = row(db, WHOLE + " WHERE tasks.id = ? AND tasks.account_id = ?", (task_id, account_id), of=Task)
    if found is None:
        raise NotFound(f"There is no task {task_id}.")
    return found


def each_whole(db: Database, task_ids: list[str]) -> Iterator[Task]:
    """These tasks with all that the API shows of them, in this order. Each is read when the caller iterates to it."""
    chosen = f"{ANSWER_COLUMNS} FROM (SELECT value AS chosen FROM json_each(?)) CROSS JOIN tasks ON id = chosen"
    return each(db, chosen, (dumps(task_ids),), of=Task)


def rename(db: Database, task_id: str, title: str) -> None:
    db.conn.execute("UPDATE tasks SET title = ? WHERE id = ?", (title, task_id))
    db.touched(task_id)


def page(
    db: Database,
    account_id: str,
    *,
    agent_id: str | None,
    status: str | None,
    search: str | None = None,
    limit: int,
    after: int,
    ascending: bool,
) -> list[tuple[int, str]]:
    """Number and id of the account's tasks after the one with number `after`, newest first unless ascending.

    At most `limit`. `search`: only tasks whose title contains this text.
    """
    wanted = {"account": account_id, "agent": agent_id, "status": status, "after": after, "limit": limit}
    if search is not None:
        escaped = re.sub("([%_^])", r"^\1", search)
        wanted["search"] = f"%{escaped}%"
    return db.conn.execute(_page_sql(agent_id, status, search, ascending), wanted).fetchall()


def _page_sql(agent_id: str | None, status: str | None, search: str | None, ascending: bool) -> str:
    """The query with only the conditions in use. A `+` keeps SQLite from using that column's index."""
    ended = status in lifecycle.TERMINAL
    plus = "" if status is None or ended else "+"
    where = [f"{plus}tasks.account_id = :account", "tasks.number > :after" if ascending else "tasks.number < :after"]
    if agent_id is not None:
        where.append(f"{plus}tasks.agent_id = :agent")
    if status is not None:
        where.append("tasks.status = :status")
    if ended:
        where.append("tasks.completed_at IS NOT NULL")
    if search is not None:
        where.append("tasks.title LIKE :search ESCAPE '^'")
    order = "ASC" if ascending else "DESC"
    return f"SELECT number, id FROM tasks WHERE {' AND '.join(where)} ORDER BY tasks.number {order} LIMIT :limit"


def with_status(db: Database, *statuses: str, most: int = ALL) -> list[str]:
    """The ids of the tasks in one of these statuses, oldest first."""
    marks = ", ".join("?" * len(statuses))
    found = rows(db, f"SELECT id FROM tasks WHERE status IN ({marks}) ORDER BY number LIMIT ?", (*statuses, most))
    return [task["id"] for task in found]


def pending(db: Database) -> int:
    """How many tasks are pending."""
    return int(single(db, "SELECT coalesce(sum(tasks), 0) AS n FROM pending_blocks")["n"])


def idle(db: Database) -> list[str]:
    """Conversations whose container waits for the next message, the longest waiting first."""
    sql = (
        "SELECT tasks.id FROM tasks JOIN runs ON task_id = tasks.id AND ended_at IS NULL"
        " WHERE status = 'awaiting_input' ORDER BY julianday(expires_at) - session_ttl_seconds / 86400.0, tasks.number"
    )
    return [task["id"] for task in rows(db, sql)]


def inputs(db: Database, task_id: str) -> list[Row]:
    """The files given to the task and its messages, in the order in which they were given."""
    return rows(
        db,
        "SELECT files.*, 0 AS message, position FROM task_inputs JOIN files ON files.id = file_id WHERE task_id = :task"
        " UNION ALL SELECT files.*, messages.number, position FROM messages"
        " JOIN message_inputs ON message_id = messages.id JOIN files ON files.id = file_id WHERE task_id = :task"
        " ORDER BY message, position",
        {"task": task_id},
    )


OUTPUTS = (
    "SELECT files.*, output_name, message_id, task_outputs.number AS number FROM task_outputs"
    " JOIN files ON files.id = file_id WHERE task_id = ?"
)
OUTPUTS_UP = OUTPUTS + " AND task_outputs.number > ? ORDER BY task_outputs.number LIMIT ?"
OUTPUTS_DOWN = OUTPUTS + " AND task_outputs.number < ? ORDER BY task_outputs.number DESC LIMIT ?"


def outputs(db: Database, task_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    """Files that the agent delivered. `output_name`: the agent's name; `number`: the position in the list."""
    return rows(db, OUTPUTS_UP if ascending else OUTPUTS_DOWN, (task_id, after, limit))


def output(db: Database, task_id: str, file_id: str) -> Row:
    found = row(db, OUTPUTS + " AND file_id = ?", (task_id, file_id))
    if found is None:
        raise NotFound(f"The task has no file {file_id}.")
    return found


def ended_with_workspace(
    db: Database, before: datetime, most: int = ALL, failed_before: datetime | None = None
) -> list[Row]:
    """Tasks that ended before `before` (a steady date) and still have a workspace, earliest first.

    Failed tasks are included only if they also ended before `failed_before`.
    """
    return rows(
        db,
        "SELECT id FROM tasks WHERE ended_on <= ? AND workspace_removed_at IS NULL"
        " AND (status <> 'failed' OR ended_on <= ?) ORDER BY ended_on LIMIT ?",
        (iso(before), iso(failed_before or before), most),
    )


def ended_with_container(db: Database) -> list[Row]:
    """Ended tasks that have no run but still have a container."""
    return rows(db, "SELECT id FROM tasks WHERE completed_at IS NOT NULL AND has_container ORDER BY number")
