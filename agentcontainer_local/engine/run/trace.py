"""Traces of ended runs: when the container started, and which models and tools were called."""

import json
import re
from collections.abc import Iterator
from datetime import datetime

from agentcontainer_local.engine.host import Host
from agentcontainer_local.money import to_usd
from agentcontainer_local.process.tracing import Span
from agentcontainer_local.store import events as history
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import Database, Row, parse_iso, rows, single
from agentcontainer_local.store.rows import Run

MOST = 5000  # calls and tools each; the last ones are kept
PLAIN = re.compile(r"[\w.:/-]{1,100}", re.ASCII)
WITHIN = "task_id = :task AND {at} BETWEEN :began AND :ended ORDER BY number DESC LIMIT :most"


def tell(host: Host, run_id: str) -> None:
    """Sends the trace of the run, if traces are enabled."""
    if host.traces is not None:
        host.traces.tell(span(host.db, run_id, host.now()))


def span(db: Database, run_id: str, now: datetime) -> Span:
    """The run's span, from its rows. So it includes what an earlier server did for the run."""
    run = single(db, "SELECT * FROM runs WHERE id = ?", (run_id,), of=Run)
    task = tasks.get(db, run["task_id"])
    began, ended = parse_iso(run["created_at"]), parse_iso(run["ended_at"]) if run["ended_at"] else now
    asked = {"task": task["id"], "began": run["created_at"], "ended": run["ended_at"] or "9", "most": MOST}

    def some(table: str, at: str) -> list[Row]:
        return rows(db, f"SELECT * FROM {table} WHERE {WITHIN.format(at=at)}", asked)[::-1]

    within = [_start(run, began)] if run["started_at"] else []
    within += [_call(call, ended) for call in some("model_calls", "created_at")]
    within += [_tool(tool, ended) for tool in some("activities", "started_at")]
    return Span(
        "run",
        began,
        ended,
        {
            "agentcontainer.run.id": run_id,
            "agentcontainer.task.id": task["id"],
            "agentcontainer.task.mode": task["mode"],
            "agentcontainer.task.status": task["status"],
            "agentcontainer.account.id": task["account_id"],
            "gen_ai.agent.id": task["agent_id"],
            "gen_ai.provider.name": task["provider"],
            "gen_ai.request.model": _plain(task["model"]),
        },
        "failed" if task["status"] == "failed" else None,
        tuple(_moves(some("task_events", "created_at"))),
        tuple(within),
    )


def _start(run: Run, began: datetime) -> Span:
    """The time from choosing the image to the container's first process."""
    image = {"container.image.name": _plain(run["image"])} if run["image"] else {}
    return Span("start", began, parse_iso(run["started_at"] or run["created_at"]), image)


def _call(call: Row, ended: datetime) -> Span:
    """A model call in OpenTelemetry's conventions for generative AI. There, input tokens include cached ones."""
    read = call["input_tokens"] + call["cache_read_tokens"] + call["cache_write_tokens"]
    model, status = _plain(call["model"]), tasks.call_status(call)
    facts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": call["provider"],
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": read,
        "gen_ai.usage.output_tokens": call["output_tokens"],
        "gen_ai.usage.cache_read.input_tokens": call["cache_read_tokens"],
        "gen_ai.usage.cache_creation.input_tokens": call["cache_write_tokens"],
        "agentcontainer.estimated": bool(call["estimated"]),
    }
    if call["cost_microusd"] is not None:
        facts["agentcontainer.cost_usd"] = to_usd(call["cost_microusd"])
    if call["status"]:
        facts["http.response.status_code"] = call["status"]
    over = parse_iso(call["ended_at"]) if call["ended_at"] else ended
    return Span(
        f"chat {model}",
        parse_iso(call["created_at"]),
        over,
        facts,
        str(call["status"] or "lost") if status == "failed" else None,
    )


def _tool(tool: Row, ended: datetime) -> Span:
    name = _plain(tool["tool_key"])
    facts = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "agentcontainer.activity.id": tool["id"],
    }
    over = parse_iso(tool["completed_at"]) if tool["completed_at"] else ended
    return Span(f"execute_tool {name}", parse_iso(tool["started_at"]), over, facts, tool["error_code"])


def _moves(events: list[Row]) -> Iterator[tuple[str, datetime, dict[str, str]]]:
    for event in events:
        if event["type"] == history.TASK_UPDATED:
            told = json.loads(event["data"])
            yield told["event"], parse_iso(event["created_at"]), {"agentcontainer.task.status": told["status"]}


def _plain(name: str) -> str:
    """The name, or "other" if it may contain text: names can come from a guest or a provider."""
    return name if PLAIN.fullmatch(name) else "other"
