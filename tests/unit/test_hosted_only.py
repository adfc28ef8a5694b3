"""Extensions of the hosted service's API: each has its mark, and `--hosted-only` refuses it or marks the answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
import yaml
from pydantic import ValidationError

from agentcontainer_local import app, schemas
from agentcontainer_local.api import routes
from agentcontainer_local.cli import app as cli
from agentcontainer_local.http import openapi
from agentcontainer_local.schemas.extensions import EXTENSION
from agentcontainer_local.settings import from_environment
from agentcontainer_local.web import docs
from tests.conftest import KEY, set_context
from tests.unit.test_lifecycle import dispatched

PUBLISHED = yaml.safe_load((Path(__file__).parents[1] / "published.yaml").read_text())
PREFIX = "/api/v1"
TASKS = "/agents/agt_standard_coding/tasks"
TASK = {"instructions": "x", "overrides": {"model": "scripted"}}


@pytest.fixture(scope="module")
def document() -> dict:
    return openapi.document(routes.ALL)


def operations(document: dict) -> Iterator[tuple[str, dict]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield f"{verb.upper()} {path.removeprefix(PREFIX)}", operation


# The marks are those of the published documents


def test_an_operation_is_marked_if_it_is_not_published(document):
    marked = {name: bool(operation.get(EXTENSION)) for name, operation in operations(document)}
    assert marked == {name: name not in PUBLISHED["operations"] for name in marked}
    assert set(PUBLISHED["operations"]) <= set(marked)


def test_a_parameter_is_marked_if_it_is_not_published(document):
    for name, operation in published(document):
        for parameter in operation.get("parameters", ()):
            known = PUBLISHED["operations"][name].get(parameter["in"], ())
            is_published = parameter["in"] == "path" or parameter["name"] in known
            assert bool(parameter.get(EXTENSION)) is not is_published, (name, parameter["name"])


def test_a_field_is_marked_if_it_is_not_published(document):
    seen: dict[str, set[str]] = {shape: set() for shape in PUBLISHED["shapes"]}
    for name, operation in published(document):
        for part, content in (("body", operation.get("requestBody")), ("answer", good(operation))):
            schema = ((content or {}).get("content", {}).get("application/json") or {}).get("schema")
            if (part, schema) != ("body", None) and (shape := PUBLISHED["operations"][name].get(part)):
                compare(document, schema, shape, f"{name} {part}", seen)
    assert seen == {shape: set(shape_of(shape)) for shape in seen}  # all that is published is there


def published(document: dict) -> list[tuple[str, dict]]:
    return [(name, operation) for name, operation in operations(document) if name in PUBLISHED["operations"]]


def good(operation: dict) -> dict:
    return next(response for status, response in operation["responses"].items() if status.startswith("2"))


def compare(document: dict, schema: dict, shape: str, place: str, seen: dict[str, set[str]]) -> None:
    """`schema`, of an object or a list or a choice of objects, with a published shape."""
    if shape == "-":
        return
    fields = shape_of(shape)
    for properties in objects(document, schema):
        seen[shape] |= properties.keys() & fields.keys()
        for name, about in properties.items():
            assert bool(about.get(EXTENSION)) is (name not in fields), f"{place}.{name}"
            if fields.get(name):
                compare(document, about, fields[name], f"{place}.{name}", seen)


def shape_of(name: str) -> dict[str, str | None]:
    """Field → its shape."""
    return dict(
        [*field.items()][0] if isinstance(field, dict) else (field, None) for field in PUBLISHED["shapes"][name]
    )


def objects(document: dict, schema: dict) -> Iterator[dict]:
    if "$ref" in schema:
        yield from objects(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *filter(None, [schema.get("items")])):
        yield from objects(document, inner)
    if "properties" in schema:
        yield schema["properties"]


def test_the_page_shows_what_is_an_extension(document):
    page = docs.page(document, "web/")
    assert '<h3>List tasks <span class="extension">extension</span></h3>' in page
    assert "<h3>Get task</h3>" in page
    assert '<code>maxTokens</code> <span class="extension">extension</span>' in page


# A server that refuses them


@pytest.fixture
def strict(host) -> httpx.AsyncClient:
    return client_of(host, "refuse")


@pytest.fixture
def lenient(host) -> httpx.AsyncClient:
    return client_of(host, "warn")


def client_of(host, mode: str) -> httpx.AsyncClient:
    set_context(host, settings=host.settings.model_copy(update={"hosted_only": mode}))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app._asgi_app(host)),
        base_url=f"http://localhost{PREFIX}",
        headers={"authorization": f"Bearer {KEY}"},
    )


async def test_every_extension_among_the_operations_is_refused_and_no_other(strict, document):
    for name, operation in operations(document):
        verb, path = name.split()
        answer = await strict.request(verb, path.replace("{", "").replace("}", ""))
        told = answer.json().get("error", {}).get("extension") if answer.content and "yaml" not in path else None
        told = None if told and "without" in told else told
        assert told == (f"{verb} {PREFIX}{path}" if operation.get(EXTENSION) else None), name
        assert (answer.status_code == 404) or told is None


async def test_a_page_of_events_is_refused_and_their_stream_is_not(strict, lenient, host):
    task = dispatched(host)
    path = f"/conversations/{task['id']}/events"
    refused = await strict.get(path)
    assert refused.status_code == 404 and "without stream=true" in refused.json()["error"]["extension"]
    assert "without stream=true" in (await lenient.get(path)).headers["agentcontainer-extensions"]
    assert (await strict.head(f"{path}?stream=true")).status_code == 200


async def test_a_refused_operation_needs_a_key_first(strict):
    assert (await strict.get("/tasks", headers={"authorization": "Bearer no"})).status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (TASKS, {**TASK, "overrides": {"model": "scripted", "maxTokens": 5000}}, ["overrides.maxTokens"]),
        (TASKS, {**TASK, "overrides": {"model": "scripted", "limits": {"cpus": 1}}}, ["overrides.limits"]),
        (TASKS, {**TASK, "overrides": {"model": "scripted", "maxTokens": None}}, ["overrides.maxTokens"]),
        (
            "/agents",
            {
                "name": "a",
                "basePrompt": "p",
                "runtime": {"containerImage": "debian:12", "agentRuntime": "pi", "writablePaths": ["/testbed"]},
                "defaults": {
                    "model": "scripted",
                    "internetAccess": False,
                    "maxRuntimeSeconds": 60,
                    "isolation": "container",
                },
            },
            ["runtime.writablePaths", "defaults.isolation"],
        ),
        (
            "/agents/agt_standard_coding/conversations",
            {**TASK, "message": "m", "sessionTtlSeconds": 60},
            ["sessionTtlSeconds"],
        ),
    ],
)
async def test_an_extension_in_a_body_is_refused_by_its_name(strict, host, path, body, fields):
    answer = await strict.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "validation_error")
    assert {field["field"] for field in error["fields"]} == set(fields)
    assert all(field in error["message"] for field in fields) and "--hosted-only" in error["message"]
    assert host.db.conn.execute("SELECT count(*) FROM tasks").fetchone()[0] == 0


async def test_an_extension_in_a_query_is_refused_by_its_name(strict):
    for query in ("limit=1", "order=asc", "cursor=bjE"):
        answer = await strict.get(f"/agents?{query}")
        assert answer.status_code == 422
        assert [field["field"] for field in answer.json()["error"]["fields"]] == [query.partition("=")[0]]


async def test_all_that_is_published_is_accepted(strict):
    body = {
        **TASK,
        "title": "t",
        "titleSource": "user",
        "metadata": {"maxTokens": 1},
        "overrides": {
            "model": "scripted",
            "weakModel": "scripted",
            "runtime": "pi",
            "internetAccess": False,
            "maxRuntimeSeconds": 60,
            "softFinishAfterSeconds": 30,
            "runtimeRegion": "eu",
            "outputPolicy": {"mode": "named", "files": [{"name": "report"}]},
        },
    }
    created = await strict.post(TASKS, json=body, headers={"idempotency-key": "k"})
    assert created.status_code == 201, created.text
    again = await strict.post(TASKS, json=body, headers={"idempotency-key": "k"})
    assert again.headers["idempotency-replayed"] == "true" and again.json() == created.json()


async def test_an_answer_has_only_what_is_published_and_the_client_understands_it(strict, client):
    task = (await strict.post(TASKS, json=TASK)).json()
    assert set(task) == shape_of("Task").keys()
    assert set(task["runtime"]) == {"containerImage", "agentRuntime"}
    assert schemas.Task.model_validate(task).queue_position is None
    listed = (await strict.get("/agents")).json()
    assert set(listed) == {"data"}
    assert set(listed["data"][0]["currentVersion"]["defaults"]) <= shape_of("Settings").keys()
    assert schemas.ListAgentsResponse.model_validate(listed).page_info.next_cursor is None
    assert set((await strict.get(f"/tasks/{task['id']}/files")).json()) == {"data", "pageInfo"}


async def test_a_key_against_repetition_has_no_effect_where_the_hosted_service_has_none(strict):
    body, key = {"name": "c", "containerImage": "debian:12"}, {"idempotency-key": "k"}
    one, two = [(await strict.post("/containers", json=body, headers=key)).json()["id"] for _ in range(2)]
    assert one != two


async def test_a_downloaded_document_and_an_upload_work_as_before(strict):
    assert (await strict.get("/openapi.yaml")).status_code == 200
    prepared = (await strict.post("/uploads/prepare", json={"filename": "a"})).json()
    assert (await strict.put(prepared["uploadUrl"], content=b"x")).status_code == 200
    assert (await strict.post("/uploads/complete", json={"uploadId": prepared["uploadId"]})).status_code == 201


# A server that marks them


@pytest.mark.parametrize(
    ("verb", "path", "body", "marked"),
    [
        ("GET", "/tasks?limit=1", None, f"GET {PREFIX}/tasks"),
        ("GET", "/agents?limit=1&order=asc", None, "limit, order"),
        ("POST", TASKS, {**TASK, "overrides": {"model": "scripted", "maxTokens": 90000}}, "overrides.maxTokens"),
        ("POST", TASKS, {**TASK, "overrides": {"model": "scripted", "maxTokens": 1, "model ": 1}}, None),
        ("POST", TASKS, TASK, None),
        ("GET", "/agents", None, None),
    ],
)
async def test_an_extension_is_marked_in_the_answer_and_in_the_log(lenient, caplog, verb, path, body, marked):
    answer = await lenient.request(verb, path, json=body)
    assert answer.headers.get("agentcontainer-extensions") == marked
    assert [marked in line for line in caplog.messages if "hosted" in line] == ([True] if marked else [])


async def test_a_marked_request_works_as_before(lenient):
    body, key = {"name": "c", "containerImage": "debian:12"}, {"idempotency-key": "k"}
    one = await lenient.post("/containers", json=body, headers=key)
    two = await lenient.post("/containers", json=body, headers=key)
    assert one.json() == two.json() and two.headers["agentcontainer-extensions"] == "Idempotency-Key"
    assert "pageInfo" in (await lenient.get("/agents")).json()


async def test_a_normal_server_marks_nothing(client):
    answer = await client.get("/tasks?limit=1")
    assert answer.status_code == 200 and "agentcontainer-extensions" not in answer.headers
    assert json.loads(answer.text)["pageInfo"] == {"hasMore": False, "nextCursor": None}


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        (["--hosted-only"], "refuse"),
        (["--hosted-only", "--port", "0"], "refuse"),
        (["--hosted-only=warn"], "warn"),
        (["--hosted-only", "warn"], "warn"),
        (["--hosted-only=nonsense"], "nonsense"),  # which the settings refuse
        ([], None),
    ],
)
def test_the_flag_without_a_value_refuses(given, mode):
    command = typer.main.get_command(cli).commands["serve"]
    assert command.make_context("serve", given).params["hosted_only"] == mode
    if mode == "nonsense":
        with pytest.raises(ValidationError, match="hosted_only"):
            from_environment({}, hosted_only=mode)
