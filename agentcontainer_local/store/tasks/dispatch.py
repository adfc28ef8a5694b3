"""Creating a task: from a request to a pending row, in one transaction."""

import json
import logging
from typing import Any

from agentcontainer_local import lifecycle, resource_limits
from agentcontainer_local.errors import Conflict, Invalid, TooManyPending
from agentcontainer_local.process import failpoints
from agentcontainer_local.schemas import ALLOWED_AND_OPEN, CreateConversationRequest, CreateTaskRequest
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import accounts, agents, events, files, ledger, task_fields, transcript
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, Row, dumps, iso
from agentcontainer_local.store.rows import AgentVersion, Task
from agentcontainer_local.store.tasks import budget
from agentcontainer_local.store.tasks.provider_choice import choose_provider, require_key
from agentcontainer_local.store.tasks.rows import owned_whole, pending

log = logging.getLogger(__name__)

CREATED = "task=%(task)s event=created to=%(to)s"
TITLE_LENGTH = 80
DEFAULT_SESSION_TTL_SECONDS = 3600
NO_SKILLS = "skills need internetAccess true, because they are fetched when the task starts"

Body = CreateTaskRequest | CreateConversationRequest


def dispatch(context: Context, account: Row, agent_id: str, body: Body) -> Task:
    """Checks everything that can be checked now, then inserts the task. If a check fails, nothing is written."""
    db, now = context.db, context.now()
    with db.atomic():
        _check_room(db, context.settings)
        if isinstance(body, CreateConversationRequest):
            accounts.check_checkpoint_quota(db, account["id"], context.settings)
        agent = agents.owned(db, account["id"], agent_id)
        if agent["archived_at"] is not None:
            raise Conflict("An archived agent takes no new tasks. Choose another agent.")
        version = agents.version(db, agent["id"], body.version_id)
        given = body.input_ids()
        files.owned(db, account["id"], given)
        plan = {**_planned(context, account, agent, version, body), "created_at": iso(now)}
        require_key(context, plan)
        budget.check_price(context, plan)
        task = _insert(db, plan)
        task_id = task["id"]
        for position, file_id in enumerate(given):
            sql = "INSERT INTO task_inputs (task_id, position, file_id) VALUES (?, ?, ?)"
            db.conn.execute(sql, (task_id, position, file_id))
        ledger.reserve(db, account, task_id, now)
        events.append(db, task_id, events.TASK_UPDATED, {"event": "created", "status": lifecycle.PENDING}, now)
        transcript.add(db, task, "user", _first(body), "queued", now)
        failpoints.point("task.creating")
        db.when_kept(lambda: log.info(CREATED, {"task": task_id, "to": task["status"]}))
    return task


def _check_room(db: Database, settings: Settings) -> None:
    waiting = pending(db)
    if waiting >= settings.max_pending:
        raise TooManyPending(f"{waiting} tasks are already waiting. Try again later.", retry_after=10)


def _planned(context: Context, account: Row, agent: Row, version: AgentVersion, body: Body) -> Row:
    """The columns of the new task."""
    defaults, asked = json.loads(version["defaults"]), body.overrides.stored() if body.overrides else {}
    chosen = {**{k: v for k, v in defaults.items() if v is not None}, **asked}
    soft = chosen.get("softFinishAfterSeconds")
    if soft is not None and soft >= chosen["maxRuntimeSeconds"]:
        raise Invalid.field("overrides.softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
    if chosen.get("allowedHosts") and chosen["internetAccess"]:
        raise Invalid.field("overrides.allowedHosts", ALLOWED_AND_OPEN)
    skills = agents.skills(body.skills)
    if (skills or version["skills"] != "[]") and not chosen["internetAccess"]:
        raise Invalid.field("overrides.internetAccess", NO_SKILLS)
    resource_limits.require(resource_limits.isolation(context.settings, defaults, asked), chosen["internetAccess"])
    key = body.overrides.provider_api_key if body.overrides else None
    return {
        "id": context.db.ids.new("tsk"),
        "account_id": account["id"],
        "agent_id": agent["id"],
        "agent_version_id": version["id"],
        "container_version_id": version["container_version_id"],
        "status": lifecycle.PENDING,
        **_mode(body),
        "title": body.title or title_of(_first(body)),
        "instructions": body.instructions,
        "metadata": dumps(body.metadata or {}),
        "overrides": dumps(asked),
        "provider_api_key": context.vault.seal(key) if key else None,
        **task_fields.columns(chosen),
        "provider": choose_provider(
            context.db, account["id"], chosen["model"], context.environ, chosen.get("provider")
        ),
        "skills": dumps(skills),
    }


def _insert(db: Database, plan: Row) -> Task:
    names, marks = ", ".join(plan), ", ".join("?" * len(plan))
    db.conn.execute(f"INSERT INTO tasks ({names}) VALUES ({marks})", tuple(plan.values()))
    return owned_whole(db, plan["account_id"], plan["id"])


def _mode(body: Body) -> dict[str, Any]:
    if not isinstance(body, CreateConversationRequest):
        return {"mode": "autonomous"}
    ttl = body.session_ttl_seconds or DEFAULT_SESSION_TTL_SECONDS
    return {"mode": "conversation", "turn_number": 1, "turn_status": "queued", "session_ttl_seconds": ttl}


def _first(body: Body) -> str:
    """The first prompt of the agent."""
    return body.message if isinstance(body, CreateConversationRequest) else body.instructions or ""


def title_of(words: str) -> str:
    return words.strip().splitlines()[0].strip()[:TITLE_LENGTH]
