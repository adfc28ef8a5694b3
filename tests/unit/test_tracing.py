"""Traces by themselves: what the real SDK makes of requests and of runs, as a collector gets it."""

from contextlib import asynccontextmanager
from datetime import timedelta

import httpx

from agentcontainer_local.api import routes
from agentcontainer_local.engine.run import trace
from agentcontainer_local.http import health, metrics, routing
from agentcontainer_local.process import tracing
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import row
from tests.collector import Collector, collecting
from tests.conftest import KEY
from tests.unit.test_lifecycle import dispatched

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@asynccontextmanager
async def traces(collector: Collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    async with tracing.opened({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as opened:
        yield opened


async def test_a_request_belongs_to_its_callers_trace_and_says_nothing_of_its_query(host, monkeypatch):
    with collecting() as collector:
        async with traces(collector, monkeypatch) as opened:
            app = health.Observed(routing.app(host, routes.ALL), metrics.Requests(), opened)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                headers = {"authorization": f"Bearer {KEY}", "traceparent": TRACEPARENT}
                await client.get("/api/v1/tasks/tsk_nobody/events?apiKey=secret-in-the-query", headers=headers)
                await client.get("/nowhere")
    asked, nowhere = collector.wait("GET /api/v1/tasks/{taskId}/events"), collector.wait("GET")
    assert (asked.trace, asked.parent, asked.failed) == (TRACE, TRACEPARENT.split("-")[2], False)
    assert asked.attributes["http.response.status_code"] == nowhere.attributes["http.response.status_code"] == 404
    assert nowhere.trace != TRACE and nowhere.parent == ""
    sent = b"".join(collector.bodies)
    assert b"secret-in-the-query" not in sent and KEY.encode() not in sent


async def test_a_run_without_any_call_is_told_too_and_a_failed_one_without_its_error(host, monkeypatch):
    task = dispatched(host)
    run = tasks.begin_run(host.db, task["id"], host.now())
    host.now.advance(2)
    tasks.apply(host.db, task["id"], "failed", host.now(), error="said in secret words")
    tasks.end_run(host.db, task["id"], host.now())
    with collecting() as collector:
        async with traces(collector, monkeypatch) as host.traces:
            trace.tell(host, run["id"])
    told = collector.wait("run")
    assert (told.ended - told.began, told.failed, told.events) == (2_000_000_000, True, ["created", "failed"])
    assert told.attributes["error.type"] == "failed"
    assert b"secret words" not in b"".join(collector.bodies)


def test_names_that_a_guest_chose_are_not_passed_on_where_they_could_be_text(host):
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", host.now())
    run = tasks.begin_run(host.db, task["id"], host.now())
    insert = (
        "INSERT INTO activities (id, task_id, attempt_number, started_sequence, call_id, tool_key, started_at)"
        " SELECT ?, id, 1, 1, ?, ?, running_since FROM tasks WHERE id = ?"
    )
    for tool in ("shell", "two words", "x" * 101):
        host.db.conn.execute(insert, (f"act_{len(tool)}", tool[:9], tool, task["id"]))
    span = trace.span(host.db, run["id"], host.now() + timedelta(seconds=1))
    assert [one.name for one in span.within] == ["execute_tool shell", "execute_tool other", "execute_tool other"]
    assert row(host.db, "SELECT ended_at FROM runs WHERE id = ?", (run["id"],))["ended_at"] is None
    assert {one.ended for one in span.within} == {span.ended} == {host.now() + timedelta(seconds=1)}
