"""A provider's key goes in by five ways and comes out by none: no answer, event, log line, error or byte on disk."""

import dataclasses
import json
import logging

import pytest

from agentcontainer_local import app, schemas
from agentcontainer_local.api import routes
from agentcontainer_local.store import db, tasks
from tests.conftest import KEY

SECRET = "sk-ant-needle-in-haystack"
WAYS = [f"{SECRET}-{way}" for way in ("account", "agent", "patch", "task", "message")]
DEFAULTS = {
    "model": "claude-sonnet-4-5",
    "provider": "anthropic",
    "internetAccess": False,
    "maxRuntimeSeconds": 60,
    "outputPolicy": {"mode": "any"},
}


@pytest.fixture
async def told(client, host, caplog) -> list[str]:
    """Everything that was answered while the keys were given."""
    caplog.set_level(logging.DEBUG)
    account, agent, patch, task, message = WAYS
    answers = [
        await client.put("/providers/anthropic", json={"apiKey": account}),
        made := await client.post(
            "/agents", json={"name": "a", "basePrompt": "p", "defaults": {**DEFAULTS, "providerApiKey": agent}}
        ),
        await client.patch(f"/agents/{made.json()['id']}", json={"defaults": {"providerApiKey": patch}}),
    ]
    path = f"/agents/{made.json()['id']}"
    overrides = {"overrides": {"provider": "anthropic", "providerApiKey": task}}
    for _ in range(2):
        answers.append(
            await client.post(
                f"{path}/tasks", json={"instructions": "i", **overrides}, headers={"Idempotency-Key": "one"}
            )
        )
    talk = await client.post(f"{path}/conversations", json={"instructions": "i", "message": "m", **overrides})
    task_id = talk.json()["task"]["id"]
    tasks.apply(host.db, task_id, "started", host.now())
    override = {"content": "c", "overrides": {"providerApiKey": message}}
    answers += [talk, await client.post(f"/conversations/{task_id}/messages", json=override)]
    assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
    return [answer.text for answer in answers]


async def every_get(client) -> list[str]:
    """The answers of all routes that only read, for whatever there is."""
    agent, task = [(await client.get(path)).json()["data"][0]["id"] for path in ("/agents", "/tasks")]
    version = (await client.get(f"/agents/{agent}")).json()["currentVersion"]["id"]
    named = {"{agentId}": agent, "{taskId}": task, "{versionId}": version}
    paths = [route.path for route in routes.ALL if route.verb == "GET"]
    for name, id in named.items():
        paths = [path.replace(name, id) for path in paths]
    return [(await client.get(path)).text for path in paths]


async def test_no_answer_has_a_key(client, told):
    assert not [text for text in [*told, *await every_get(client)] if SECRET in text]


async def test_no_log_line_event_or_row_has_a_key_in_plain(client, host, told, caplog):
    assert SECRET not in caplog.text
    for table in db.rows(host.db, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        for row in db.rows(host.db, f"SELECT * FROM {table['name']}"):
            assert SECRET not in repr(row), table["name"]
    host.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    written = (file for file in host.settings.data.rglob("*") if file.is_file() and file.name != "secret.key")
    for file in written:
        assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "body",
    [
        {"instructions": "i", "overrides": {"providerApiKey": SECRET, "provider": "nobody"}},
        {"instructions": "i", "overrides": {"providerApiKey": f"{SECRET} with a space"}},
        {"instructions": "i", "overrides": {"providerApiKey": {"key": SECRET}}},
        {"instructions": "i", "overrides": {"apiKey": SECRET}},
        {"instructions": "i", SECRET: 1},
        {"instructions": "i", "overrides": {"providerApiKey": SECRET, "model": "m", "maxRuntimeSeconds": "many"}},
    ],
    ids=["provider", "space", "object", "field", "name of a field", "another fault"],
)
async def test_no_error_repeats_a_key(client, caplog, body):
    caplog.set_level(logging.DEBUG)
    answer = await client.post("/agents/agt_standard_data/tasks", json=body)
    assert answer.status_code == 422
    if SECRET not in body:  # the name of an unknown field is said; a key is never a name
        assert SECRET not in answer.text
    assert SECRET not in caplog.text


def test_what_a_task_runs_with_does_not_show_its_key(host):
    shown = repr(tasks.Execution("anthropic", "m", None, "https://example.org", SECRET))
    assert SECRET not in shown


def test_no_answers_shape_has_a_field_for_a_key():
    """But the one for a new API key of ours, which is shown this once."""
    for route in routes.ALL:
        if route.answers is not None and route.answers is not schemas.CreatedApiKey:
            shape = json.dumps(route.answers.model_json_schema(mode="serialization"))
            assert '"providerApiKey"' not in shape and '"apiKey"' not in shape, route.path


async def test_our_own_key_is_in_no_answer_either(client):
    await client.post("/agents/agt_standard_data/tasks", json={"instructions": "i", "overrides": {"model": "scripted"}})
    assert not [text for text in await every_get(client) if KEY in text]


def test_a_key_that_is_given_to_a_store_that_has_others_is_warned_of(host, caplog):
    """It is taken at the first start alone; who gives another one later would only hear that it is wrong."""
    for key, warned in ((KEY, False), ("ac_live_" + "x" * 32, True), ("", False)):
        caplog.clear()
        app._first_start(dataclasses.replace(host.context, environ={"AGENTCONTAINER_API_KEY": key}))
        assert ("AGENTCONTAINER_API_KEY is not an API key of this data directory" in caplog.text) == warned
        assert not key or key not in caplog.text
