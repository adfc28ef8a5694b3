"""Tasks, from outside: dispatch, looking, cancelling, output files; the engine is not running here."""

import io
import zipfile

import pytest

from agentcontainer_local.store import db, files, tasks
from agentcontainer_local.store.db import new_id
from tests.conftest import set_context

FIELDS = {
    "id",
    "agentId",
    "agentVersionId",
    "containerVersionId",
    "status",
    "description",
    "runtimeRegion",
    "overrides",
    "metadata",
    "createdAt",
    "startedAt",
    "completedAt",
    "result",
    "error",
    "costUsd",
    "containerMinutes",
    "tokenUsage",
    # later ones
    "agentName",
    "mode",
    "title",
    "instructions",
    "execution",
    "runtime",
    "turnStatus",
    "turnNumber",
    "sessionTtlSeconds",
    "hibernateUntilAt",
    "wakeDueId",
    "queuePosition",
    "budget",
    "walls",
    "skills",
}
SCRIPTED = {"model": "scripted"}
AGENT = "/agents/agt_standard_data"


async def dispatch(client, agent: str = AGENT, **body) -> dict:
    answer = await client.post(f"{agent}/tasks", json={"instructions": "do it", "overrides": SCRIPTED, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def listed(client, path: str = "/tasks", **query) -> list[str]:
    return [entry["id"] for entry in (await client.get(path, params=query)).json()["data"]]


async def deliver(host, task: dict, content: bytes, filename: str, output_name: str | None) -> str:
    """An output file, as the guest's door takes it in."""
    async with files.receiving(host.files, new_id("file"), 1_000_000) as incoming:
        await incoming.write(content)
    row = tasks.get(host.db, task["id"])
    with host.db.atomic():
        files.add(
            host.db,
            row["account_id"],
            filename,
            "text/markdown",
            incoming.name,
            incoming.size,
            incoming.sha256,
            host.now(),
        )
        host.db.conn.execute(
            "INSERT INTO task_outputs (task_id, file_id, output_name) VALUES (?, ?, ?)",
            (task["id"], incoming.name, output_name),
        )
    return incoming.name


# Dispatch


async def test_a_task_has_the_fields_of_the_reference_and_the_later_ones(client, upload):
    agent = (await client.get(AGENT)).json()
    file_id = await upload(b"1,2")
    asked = {
        "model": "scripted",
        "weakModel": "small",
        "provider": "openai",
        "internetAccess": False,
        "maxRuntimeSeconds": 60,
        "softFinishAfterSeconds": 50,
        "outputPolicy": {"mode": "at_least_one"},
        "runtimeRegion": "eu",
        "runtime": "pi",
    }
    task = await dispatch(
        client,
        instructions="First line.\nSecond.",
        metadata={"ticket": 7},
        inputFileIds=[file_id],
        overrides={**asked, "providerApiKey": "sk-secret"},
    )
    assert set(task) == FIELDS
    assert task["id"].startswith("tsk_")
    assert (task["agentId"], task["agentName"]) == (agent["id"], agent["name"])
    assert task["agentVersionId"] == agent["currentVersion"]["id"]
    assert task["containerVersionId"] == agent["currentVersion"]["containerVersionId"]
    assert (task["mode"], task["status"], task["title"]) == ("autonomous", "pending", "First line.")
    assert task["instructions"] == task["description"] == "First line.\nSecond."
    assert task["overrides"] == {**asked, "hasProviderApiKey": True}
    assert (task["metadata"], task["runtimeRegion"]) == ({"ticket": 7}, "eu")
    assert task["execution"] == {"provider": "openai", "model": "scripted", "weakModel": "small"}
    assert (task["startedAt"], task["completedAt"], task["result"], task["error"]) == (None,) * 4
    assert (task["costUsd"], task["containerMinutes"], task["queuePosition"]) == (0, 0, 1)
    assert task["tokenUsage"] == {
        "inputTokens": 0,
        "outputTokens": 0,
        "cacheReadTokens": 0,
        "cacheWriteTokens": 0,
        "costUsd": 0,
        "calls": 0,
        "estimatedCalls": 0,
        "byModel": {},
    }
    answer = await client.get(f"/tasks/{task['id']}")
    assert answer.json() == task
    assert "sk-secret" not in answer.text


async def test_both_spellings_of_the_instructions_are_taken(client):
    for body in (
        {"instructions": "do it"},
        {"description": "do it"},
        {"instructions": "do it", "description": "do it"},
        {"instructions": "do it", "description": None},
    ):
        answer = await client.post(f"{AGENT}/tasks", json={**body, "overrides": SCRIPTED})
        assert (answer.json()["instructions"], answer.json()["description"]) == ("do it", "do it")


async def test_a_title_can_be_given(client):
    assert (await dispatch(client, title="Mine"))["title"] == "Mine"
    assert (await dispatch(client, instructions=" \n\n  " + "x" * 100))["title"] == "x" * 80


async def test_input_files_are_taken_in_both_spellings(client, host, upload):
    one, two = await upload(b"1"), await upload(b"2")
    later = [{"fileId": one, "snapshot": "include"}, {"fileId": two}]
    task = await dispatch(client, inputFileIds=[two], inputFiles=later)
    assert [row["id"] for row in tasks.inputs(host.db, task["id"])] == [two, one]


async def test_a_task_keeps_the_version_that_it_was_dispatched_with(client):
    agent = (await client.post(f"{AGENT}/fork")).json()
    path = f"/agents/{agent['id']}"
    task = await dispatch(client, path)
    changed = (await client.patch(path, json={"basePrompt": "other"})).json()
    assert (await client.get(f"/tasks/{task['id']}")).json()["agentVersionId"] == agent["currentVersion"]["id"]
    assert (await dispatch(client, path))["agentVersionId"] == changed["currentVersion"]["id"]
    pinned = await dispatch(client, path, versionId=agent["currentVersion"]["id"])
    assert pinned["agentVersionId"] == agent["currentVersion"]["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"instructions": None}, "instructions"),
        ({"instructions": ""}, "instructions"),
        ({"instructions": "\n "}, "instructions"),
        ({"instructions": 5}, "instructions"),
        ({"description": "another"}, "description"),
        ({"versionId": "agtv_none"}, "versionId"),
        ({"inputFileIds": ["file_none"]}, "inputFileIds"),
        ({"inputFiles": [{"fileId": "file_none"}]}, "inputFileIds"),
        ({"inputFiles": [{}]}, "inputFiles.0.fileId"),
        ({"inputFiles": [{"fileId": "x", "snapshot": "exclude"}]}, "inputFiles.0.snapshot"),
        ({"metadata": []}, "metadata"),
        ({"title": ""}, "title"),
        ({"priority": 1}, "priority"),
        ({"overrides": {**SCRIPTED, "runtime": "codex"}}, "overrides.runtime"),
        ({"overrides": {**SCRIPTED, "provider": "acme"}}, "overrides.provider"),
        ({"overrides": {**SCRIPTED, "maxRuntimeSeconds": 604_801}}, "overrides.maxRuntimeSeconds"),
        ({"overrides": {**SCRIPTED, "softFinishAfterSeconds": 3600}}, "overrides.softFinishAfterSeconds"),
        (
            {"overrides": {**SCRIPTED, "maxRuntimeSeconds": 9, "softFinishAfterSeconds": 9}},
            "overrides.softFinishAfterSeconds",
        ),
        ({"overrides": {**SCRIPTED, "outputPolicy": {"mode": "named"}}}, "overrides.outputPolicy.files"),
        ({"overrides": {**SCRIPTED, "temperature": 1}}, "overrides.temperature"),
    ],
)
async def test_a_task_that_makes_no_sense_is_refused_by_the_field(client, host, body, field):
    answer = await client.post(f"{AGENT}/tasks", json={"instructions": "x", "overrides": SCRIPTED, **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert [fault["field"] for fault in answer.json()["error"]["fields"]] == [field]
    assert await listed(client) == []
    assert db.row(host.db, "SELECT count(*) AS n FROM task_events")["n"] == 0


@pytest.mark.parametrize("metadata", ["1e999", "NaN", "-Infinity"])
async def test_metadata_must_be_plain_json(client, metadata):
    body = f'{{"instructions": "x", "overrides": {{"model": "scripted"}}, "metadata": {{"a": [{metadata}]}}}}'
    answer = await client.post(f"{AGENT}/tasks", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["fields"][0]["field"] == "metadata"


async def test_metadata_comes_back_as_it_was(client):
    metadata = {"n": None, "deep": {"list": [1, 2.5, True, "é 🐧 \0"]}, "": "", "big": 2**70, "hasMore": {"a_b": 1}}
    task = await dispatch(client, metadata=metadata)
    assert (await client.get(f"/tasks/{task['id']}")).json()["metadata"] == metadata


async def test_without_a_key_for_its_provider_no_task_is_made(client, host):
    for overrides in ({}, {"provider": "openai"}, {"model": "gpt-5"}):
        answer = await client.post(f"{AGENT}/tasks", json={"instructions": "x", "overrides": overrides})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "provider_key_missing")
    assert await listed(client) == []
    set_context(host, environ={"OPENAI_API_KEY": "k"})
    task = await dispatch(client, overrides={"model": "gpt-5"})
    assert task["execution"] == {"provider": "openai", "model": "gpt-5", "weakModel": None}


async def test_more_than_may_wait_are_refused(client, host):
    set_context(host, settings=host.settings.model_copy(update={"max_pending": 2}))
    assert [(await dispatch(client))["queuePosition"] for _ in range(2)] == [1, 2]
    answer = await client.post(f"{AGENT}/tasks", json={"instructions": "x", "overrides": SCRIPTED})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_pending")
    assert int(answer.headers["retry-after"]) > 0


async def test_without_credit_no_task_is_made(client, host):
    host.db.conn.execute("UPDATE accounts SET billing_mode = 'standard'")
    answer = await client.post(f"{AGENT}/tasks", json={"instructions": "x", "overrides": SCRIPTED})
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_credits")
    assert await listed(client) == []


async def test_a_dispatch_wakes_the_engine(client, host):
    mark = host.changed.mark()
    await dispatch(client)
    assert mark.done()


# Looking


async def test_tasks_are_listed_by_agent_and_by_status(client):
    agent = f"/agents/{(await client.post(f'{AGENT}/fork')).json()['id']}"
    one, two, other = await dispatch(client, agent), await dispatch(client, agent), await dispatch(client)
    await client.post(f"/tasks/{one['id']}/cancel")
    assert await listed(client, f"{agent}/tasks") == [two["id"], one["id"]]
    assert await listed(client, f"{agent}/tasks", status="cancelled") == [one["id"]]
    assert await listed(client, f"{agent}/tasks", order="asc", limit=1) == [one["id"]]
    assert await listed(client) == [other["id"], two["id"], one["id"]]
    assert await listed(client, status="finished") == []
    answer = await client.get("/tasks", params={"status": "done"})
    assert (answer.status_code, answer.json()["error"]["fields"][0]["field"]) == (422, "status")


async def test_a_task_of_somebody_else_does_not_exist(client, stranger):
    task = await dispatch(stranger)
    for id in ("tsk_none", task["id"]):
        for verb, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/files"), ("GET", "/files/file_none")):
            answer = await client.request(verb, f"/tasks/{id}{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert await listed(client) == await listed(client, f"{AGENT}/tasks") == []
    assert (await stranger.get(f"/tasks/{task['id']}")).json() == task


# Cancelling


async def test_a_task_can_be_cancelled_once_and_again_is_answered_as_it_is(client, host, clock):
    task = await dispatch(client)
    mark = host.changed.mark()
    cancelled = await client.post(f"/tasks/{task['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["completedAt"] == "2026-03-25T09:30:00.000Z"
    assert mark.done()
    clock.advance(60)
    assert (await client.post(f"/tasks/{task['id']}/cancel")).json() == cancelled.json()


async def test_a_finished_task_cannot_be_cancelled(client, host):
    task = await dispatch(client)
    tasks.apply(host.db, task["id"], "started", host.now())
    tasks.apply(host.db, task["id"], "finished", host.now(), result="Done", completion="complete")
    finished = (await client.get(f"/tasks/{task['id']}")).json()
    assert (finished["status"], finished["result"]) == ("finished", "Done")
    assert finished["metadata"] == {"completion": "complete"}
    answer = await client.post(f"/tasks/{task['id']}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert (await client.get(f"/tasks/{task['id']}")).json() == finished


# Output files


async def test_output_files_are_listed_with_their_names_and_downloaded(client, host):
    task = await dispatch(client)
    report = await deliver(host, task, b"# Report", "report.md", "report")
    chart = await deliver(host, task, b"png", "chart.png", None)
    page = (await client.get(f"/tasks/{task['id']}/files", params={"order": "asc"})).json()
    assert page["pageInfo"] == {"hasMore": False, "nextCursor": None}
    assert page["data"] == [
        {
            "id": report,
            "filename": "report.md",
            "contentType": "text/markdown",
            "sizeBytes": 8,
            "createdAt": "2026-03-25T09:30:00.000Z",
            "outputName": "report",
        },
        {
            "id": chart,
            "filename": "chart.png",
            "contentType": "text/markdown",
            "sizeBytes": 3,
            "createdAt": "2026-03-25T09:30:00.000Z",
            "outputName": None,
        },
    ]
    answer = await client.get(f"/tasks/{task['id']}/files/{report}")
    assert (answer.status_code, answer.content) == (200, b"# Report")
    assert answer.headers["content-disposition"].startswith('attachment; filename="report.md"')
    part = await client.get(f"/tasks/{task['id']}/files/{report}", headers={"range": "bytes=2-"})
    assert (part.status_code, part.content) == (206, b"Report")
    assert (await client.delete(f"/files/{report}")).status_code == 409


async def test_a_file_that_is_not_an_output_of_this_task_is_not_found_there(client, host, upload):
    task, other = await dispatch(client), await dispatch(client)
    for file_id in (await upload(b"x"), await deliver(host, other, b"y", "y", None), "file_none"):
        assert (await client.get(f"/tasks/{task['id']}/files/{file_id}")).status_code == 404


# All files at once


async def test_all_files_of_a_task_come_as_one_archive(client, host, stranger):
    task = await dispatch(client)
    path = f"/tasks/{task['id']}/files.zip"
    assert (await client.get(path)).status_code == 404
    large = bytes(range(256)) * 3000
    for name, content in [
        ("a.md", b"one"),
        ("a.md", b"two"),
        ("../../b.md", b"three"),
        ("large.bin", large),
        ("grün.md", b""),
        ("..", b"up"),
    ]:
        await deliver(host, task, content, name, None)
    answer = await client.get(path)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{task["id"]}.zip"')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {
        "a.md": b"one",
        "a-2.md": b"two",
        ".._.._b.md": b"three",
        "large.bin": large,
        "grün.md": b"",
        "file": b"up",
    }
    assert (await client.head(path)).content == b""
    assert (await stranger.get(path)).status_code == 404


# Search


async def test_tasks_are_found_by_a_part_of_their_title(client):
    first = await dispatch(client, title="Sales report 100%_done")
    second = await dispatch(client, AGENT.replace("data", "coding"), title="another REPORT ^ of sales")
    await dispatch(client, title="Something else")
    both = [second["id"], first["id"]]
    assert await listed(client, search="report") == await listed(client, search="sales") == both
    assert await listed(client, search="0%_d") == [first["id"]]
    assert await listed(client, search="%") == [first["id"]] and await listed(client, search="^") == [second["id"]]
    assert await listed(client, f"{AGENT}/tasks", search="report") == [first["id"]]
    assert await listed(client, search="report", status="pending") == both
    assert await listed(client, search="nowhere") == []
    assert len(await listed(client, search="")) == 3, "an empty parameter is as one that is not there"


async def test_a_conversation_is_called_by_its_first_message(client):
    body = {"instructions": "You talk with a person.", "message": "Hello there\nsecond line", "overrides": SCRIPTED}
    made = (await client.post(f"{AGENT}/conversations", json=body)).json()["task"]
    assert made["title"] == "Hello there"
    made = (await client.post(f"{AGENT}/conversations", json={**body, "title": "Mine"})).json()["task"]
    assert made["title"] == "Mine"
