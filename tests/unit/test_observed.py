"""What an operator watches: health, readiness, metrics, and the log."""

import io
import json
import logging
import re
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from agentcontainer_local.api import routes
from agentcontainer_local.http import health, metrics, routing
from agentcontainer_local.process import logs, tracing
from agentcontainer_local.store import tasks
from tests.conftest import KEY, Nowhere
from tests.unit.test_budget import Told, worst

LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+]+')
DOCS = Path(__file__).parents[2] / "docs"
INSTRUCTIONS = {"instructions": "x", "overrides": {"model": "scripted"}}


class Podman(Nowhere):
    """The one question that readiness asks of it."""

    def __init__(self, answers: bool):
        self.answers = answers

    async def ready(self) -> None:
        if not self.answers:
            raise ConnectionError("no podman")


@pytest.fixture
def watched(host):
    """The host's API with what is watched, as `app` puts them together; and its base URL's client."""
    requests = metrics.Requests()
    host.backend = Podman(True)
    router = routing.routing.Router(
        [*health.routes(host, requests), *routing.mounted(host, routes.ALL)], default=routing.unknown
    )
    transport = httpx.ASGITransport(health.Observed(router, requests))
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"authorization": f"Bearer {KEY}"})


async def numbers(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in lines), [line for line in lines if not LINE.fullmatch(line)]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_health_and_readiness_need_no_key_and_say_no_more(watched, host):
    for path in ("/healthz", "/readyz"):
        answer = await watched.get(path, headers={"authorization": ""})
        assert (answer.status_code, answer.text) == (200, "ok\n")
    host.backend.answers = False
    assert (await watched.get("/readyz")).status_code == 503
    assert (await watched.get("/healthz")).status_code == 200


async def test_a_server_whose_store_is_gone_is_not_ready(watched, host, caplog):
    host.db.conn.execute("ALTER TABLE store RENAME TO gone")
    answer = await watched.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "store\n")
    assert "gone" not in answer.text


async def test_metrics_need_a_key(watched):
    answer = await watched.get("/metrics", headers={"authorization": ""})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


async def test_a_key_for_metrics_opens_nothing_else_and_an_expired_one_nothing(watched, clock):
    async def made(**more) -> dict[str, str]:
        answer = await watched.post("/api/v1/keys", json={"name": "prometheus", **more})
        assert answer.status_code == 201
        return {"authorization": f"Bearer {answer.json()['key']}"}

    metrics_only, brief = await made(scope="metrics"), await made(scope="metrics", expiresInSeconds=60)
    for headers in (metrics_only, brief, {}):
        assert (await watched.get("/metrics", headers=headers)).status_code == 200
    for verb, path in (
        ("GET", "/account"),
        ("GET", "/tasks"),
        ("POST", "/keys"),
        ("GET", "/files/f/content"),
        ("POST", "/agents/agt_standard_data/tasks"),
        ("GET", "/tasks/t/events?stream=true"),
    ):
        answer = await watched.request(verb, f"/api/v1{path}", headers=metrics_only, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden"), path
    clock.advance(60)
    assert (await watched.get("/metrics", headers=brief)).status_code == 401
    assert (await watched.get("/metrics", headers=metrics_only)).status_code == 200
    listed = (await watched.get("/api/v1/keys")).json()["data"]
    assert [key["scope"] for key in listed] == ["metrics", "metrics", "all"]
    assert listed[0]["expiresAt"] == "2026-03-25T09:31:00.000Z" and listed[1]["expiresAt"] is None


async def test_metrics_tell_cost_durations_errors_and_disks(watched, host, clock):
    sent = [
        (await watched.post("/api/v1/agents/agt_standard_data/tasks", json=INSTRUCTIONS)).json()["id"] for _ in range(3)
    ]
    clock.advance(4)
    for id in sent[:2]:
        tasks.apply(host.db, id, "started", clock())
    used = [Told(100, 20, cost_microusd=12_345, model="gpt"), Told(1, 0, cost_microusd=0, model="gpt", status=503)]
    for one in used:
        number = tasks.reserve(host.db, sent[0], worst(), clock()).number
        clock.advance(20)
        tasks.settle(host.db, number, one, clock())
    tasks.apply(host.db, sent[0], "finished", clock(), result="Done")
    tasks.apply(host.db, sent[1], "failed", clock(), error="No")
    found = await numbers(watched)
    start, task = "agentcontainer_task_start_seconds", "agentcontainer_task_duration_seconds"
    assert [found[f'{start}_bucket{{le="{le}"}}'] for le in ("2.5", "5", "+Inf")] == [0, 2, 2]
    assert found[f"{start}_sum"] == pytest.approx(8, abs=0.01) and found[f"{start}_count"] == 2
    assert found[f'{task}_bucket{{le="60",status="finished"}}'] == 1 and found[f'{task}_count{{status="failed"}}'] == 1
    assert found[f'{task}_sum{{status="finished"}}'] == pytest.approx(40, abs=0.01)
    provider = "anthropic"
    assert found[f'agentcontainer_model_cost_usd_total{{provider="{provider}"}}'] == pytest.approx(0.012345)
    assert found[f'agentcontainer_model_calls_total{{provider="{provider}"}}'] == 2
    assert found[f'agentcontainer_model_call_failures_total{{provider="{provider}",status="503"}}'] == 1
    assert found[f'agentcontainer_model_call_duration_seconds_bucket{{le="30",provider="{provider}"}}'] == 2
    assert found['agentcontainer_disk_free_bytes{place="data"}'] > 1e6
    assert found["agentcontainer_budget_used_usd"] > 0 and "agentcontainer_budget_max_usd" not in found


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:agentcontainer|process)_[a-z_]+", text))


async def test_the_dashboard_and_the_alerts_ask_for_metrics_that_there_are(watched, host):
    id = (await watched.post("/api/v1/agents/agt_standard_data/tasks", json=INSTRUCTIONS)).json()["id"]
    tasks.apply(host.db, id, "started", host.now())
    tasks.settle(host.db, tasks.reserve(host.db, id, worst(), host.now()).number, Told(1, 1, status=500), host.now())
    tasks.apply(host.db, id, "finished", host.now(), result="Done")
    await watched.put("/api/v1/account/budget", json={"maxCostUsd": 5})
    there = {name.partition("{")[0] for name in await numbers(watched)}
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = [rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    assert len(asked) > 10 and len(rules) > 5
    for expression in (*asked, *(rule["expr"] for rule in rules)):
        assert metrics_in(expression) and metrics_in(expression) <= there, expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


async def test_metrics_count_tasks_and_requests(watched):
    before = await numbers(watched)
    for _ in range(3):
        assert (await watched.post("/api/v1/agents/agt_standard_data/tasks", json=INSTRUCTIONS)).status_code == 201
    await watched.get("/api/v1/tasks/tsk_nobody")
    after = await numbers(watched)
    assert after['agentcontainer_tasks{status="pending"}'] == 3
    assert after['agentcontainer_http_requests_total{method="POST",status="2xx"}'] == 3
    assert after['agentcontainer_http_requests_total{method="GET",status="4xx"}'] == 1
    count = "agentcontainer_http_request_duration_seconds_count"
    assert after[count] - before[count] == 5
    assert after['agentcontainer_http_request_duration_seconds_bucket{le="+Inf"}'] == after[count]
    assert after["process_resident_memory_bytes"] > 1e7


async def test_each_answer_has_an_id_that_is_in_the_log_without_the_query(watched, caplog):
    caplog.set_level("DEBUG", "agentcontainer_local.http.health")
    answer = await watched.get("/api/v1/tasks?limit=1&apiKey=secret")
    assert f"request={answer.headers['x-request-id']} method=GET path=/api/v1/tasks status=200" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_an_event_is_one_line_whatever_it_holds(as_json, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        logs.start("info", as_json)
        named = {"task": "tsk_1", "said": "a\nINFO forged\x1b[31m", "level": "none"}
        logging.getLogger("agentcontainer_local.engine.run").info("task=%(task)s said %(said)s", named)
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("agentcontainer_local.engine.run").exception("failed")
        logging.getLogger("uvicorn").info("chatter")
    finally:
        root.handlers[:], root.level = handlers, level
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and "\x1b" not in stream.getvalue()
    if as_json:
        told = json.loads(lines[0])
        assert (told["module"], told["level"], told["task"]) == ("engine.run", "info", "tsk_1")
        assert "ValueError" in json.loads(lines[1])["exception"]
    else:
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO engine.run task=tsk_1 said a\\nINFO forged", lines[0])


async def test_traces_are_off_until_asked_for_and_say_what_is_missing(monkeypatch):
    async with tracing.opened({}) as traces:
        assert traces is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(RuntimeError, match=r"agentcontainer-local\[otel\]"):
        async with tracing.opened({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}):
            pass
