"""OpenTelemetry with its real SDK and exporter, from a real server to a collector that decodes what comes."""

import socket

from tests import fake_provider
from tests.collector import Collector, collecting
from tests.fake_provider import Fails, bash
from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash as script

SECRET = "a-word-of-the-instructions-that-nobody-else-may-read"
KEY = "fake-key-of-the-task"
SERVER = 2  # a span's kind


def environ(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_SERVICE_NAME": "mine"}


def test_a_run_of_a_task_is_one_trace_without_anybodys_words(tmp_path):
    with (
        collecting() as collector,
        fake_provider.serving() as provider,
        serving(tmp_path / "data", **provider.environ(), **environ(collector)) as server,
    ):
        provider.plan(
            Fails(529),
            bash(f"echo {SECRET} > out.txt"),
            bash(f"cat {SECRET}"),
            bash(f"finish --complete-task --message 'It was {SECRET}' out.txt"),
        )
        file = server.upload(f"{SECRET}.txt", SECRET.encode())
        task = server.run(
            f"Do {SECRET}", model="claude-sonnet-4-5", provider="anthropic", providerApiKey=KEY, files=[file]
        )
        assert task["status"] == "finished", task["error"]
        run = collector.wait("run")
        told = collector.trace(run.trace)
        calls, tools = _of_calls_and_tools(server, task["id"])
        names = [span.name for span in told]
        assert names.count("start") == 1 and len(told) == 2 + len(calls) + len(tools)
        assert names.count("chat claude-sonnet-4-5") == len(calls) == 4
        assert names.count("execute_tool shell") == len(tools) == 3
        assert run.parent == "" and {span.parent for span in told if span is not run} == {run.id}
        assert all(run.began <= span.began <= span.ended <= run.ended for span in told)
        assert run.events == ["started", "finished"] and not run.failed
        assert run.attributes["agentcontainer.task.id"] == task["id"]
        assert run.attributes["agentcontainer.task.status"] == "finished"
        used = [span.attributes["gen_ai.usage.output_tokens"] for span in told if span.name.startswith("chat")]
        assert used == [call["outputTokens"] for call in calls]
        assert [span.failed for span in told if span.name.startswith("chat")] == [True, False, False, False]
        assert [span.failed for span in told if span.name.startswith("execute")] == [False, True, False]
        assert {resource["service.name"] for resource in collector.resources} == {"mine"}
        assert set(collector.paths) == {"/v1/traces"}
        server.stop()
        dispatched = next(span for span in collector.spans if span.name == "POST /api/v1/agents/{agentId}/tasks")
        assert (dispatched.kind, dispatched.attributes["http.response.status_code"]) == (SERVER, 201)
        sent = b"".join(collector.bodies)
        for words in (SECRET, KEY, server.key, "fake-key-of-anthropic", "signature"):
            assert words.encode() not in sent, words
        server.start()


def _of_calls_and_tools(server: Server, task_id: str) -> tuple[list[dict], list[dict]]:
    return tuple(server.get(f"/tasks/{task_id}/{what}", order="asc")["data"] for what in ("model-calls", "activities"))


def test_the_next_server_tells_the_run_that_it_took_over(tmp_path):
    with collecting() as collector, serving(tmp_path / "data", **environ(collector)) as server:
        task = server.dispatch(script("echo before", "sleep 3", finish="--complete-task --message Done"))
        wait_until(lambda: "before" in server.said(task["id"]), 60)
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()
        server.client.close()
        server.start()
        assert server.wait(task["id"])["status"] == "finished"
        run = collector.wait("run")
        tools = [span for span in collector.trace(run.trace) if span.name == "execute_tool shell"]
        assert len(tools) == 3 and all(run.began <= span.began <= span.ended <= run.ended for span in tools)
        assert [span.name for span in collector.spans].count("run") == 1


def test_a_collector_that_is_not_there_costs_a_task_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nowhere = Collector(f"http://127.0.0.1:{port}")
    with serving(tmp_path / "data", **environ(nowhere), OTEL_EXPORTER_OTLP_TIMEOUT="1") as server:
        task = server.run(script(finish="--complete-task --message Done"))
        assert (task["status"], task["result"]) == ("finished", "Done")
        assert server.stop() == 0
        said = server.log.read_text()
        assert "Traceback" not in said and str(port) in said
        server.start()
