"""What holds for every route: keys, bodies, errors, pages, idempotency, the OpenAPI document."""

import asyncio
import itertools
import json
from datetime import timedelta

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentcontainer_local import schemas
from agentcontainer_local.api import routes
from agentcontainer_local.http import routing
from agentcontainer_local.store import db, tasks, transcript
from tests.conftest import KEY, calling, set_context
from tests.live import Live
from tests.unit.test_races import running

UNAUTHORIZED = {"error": {"code": "unauthorized", "message": "Invalid or missing API key."}}
CLOSED = [route for route in routes.ALL if not route.open]
CONTAINER = {"name": "c"}


def path_of(route) -> str:
    return route.path.replace("{", "").replace("}", "")


@pytest.mark.parametrize("route", CLOSED, ids=lambda route: f"{route.verb} {route.path}")
async def test_without_a_key_every_route_answers_401_in_the_exact_words(host, route):
    async with calling(host, None) as nobody:
        answer = await nobody.request(route.verb, path_of(route))
    assert answer.status_code == 401
    assert answer.json() == UNAUTHORIZED
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer ac_live_wrong", f"Token {KEY}", KEY])
async def test_a_header_that_is_not_a_bearer_key_answers_401(host, header):
    async with calling(host, None) as nobody:
        answer = await nobody.get("/account", headers={"authorization": header})
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


async def test_a_key_in_the_query_is_not_taken(host):
    async with calling(host, None) as nobody:
        assert (await nobody.get("/account", params={"apiKey": KEY})).status_code == 401


async def test_a_revoked_key_is_refused_at_once(client, host):
    made = (await client.post("/keys", json={"name": "phone"})).json()
    async with calling(host, made["key"]) as phone:
        assert (await phone.get("/account")).status_code == 200
        assert (await client.delete(f"/keys/{made['id']}")).status_code == 204
        assert (await phone.get("/account")).status_code == 401


async def test_unknown_paths_and_methods_are_answered_in_the_error_shape(client):
    nowhere = await client.get("/nowhere")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
    wrong = await client.delete("/account")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]
    root = await client.get("http://test/elsewhere")
    assert (root.status_code, root.json()["error"]["code"]) == (404, "not_found")


async def test_head_answers_as_get_without_a_body(client):
    answer = await client.head("/account")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"\xff\xfe", 400, "bad_request"),
        (b'{"name": "\\ud800"}', 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b"[]", 422, "validation_error"),
        (b"null", 422, "validation_error"),
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(client, content, status, code):
    answer = await client.post("/containers", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_of_another_media_type_answers_415(client, media_type):
    answer = await client.post("/containers", content=b'{"name": "c"}', headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.x+json",
    ],
)
async def test_json_may_be_called_by_its_other_names(client, media_type):
    answer = await client.post("/containers", content=b'{"name": "c"}', headers={"content-type": media_type})
    assert answer.status_code == 201


async def test_a_body_over_the_limit_answers_413_whether_announced_or_not(client, host):
    body = b'{"name": "' + b"x" * host.settings.max_body_bytes + b'"}'

    async def unannounced():
        for at in range(0, len(body), 1024 * 1024):
            yield body[at : at + 1024 * 1024]

    for content in (body, unannounced()):
        answer = await client.post("/containers", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def test_a_422_names_each_field_at_fault(client):
    answer = await client.post(
        "/agents/agt_standard_data/tasks",
        json={
            "inputFileIds": "file_1",
            "colour": "red",
            "overrides": {"runtime": "codex", "maxRuntimeSeconds": "60"},
        },
    )
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "validation_error"
    assert {fault["field"] for fault in error["fields"]} == {
        "inputFileIds",
        "colour",
        "overrides.runtime",
        "overrides.maxRuntimeSeconds",
    }
    assert {"field": "colour", "message": "Unknown field"} in error["fields"]


async def test_an_error_never_repeats_what_was_sent(client):
    secret = "sk-this-is-secret"
    answer = await client.post(
        "/agents/agt_standard_data/tasks",
        json={
            "instructions": "x",
            "overrides": {"providerApiKey": [secret], "provider": secret},
        },
    )
    assert answer.status_code == 422
    assert secret not in answer.text


async def test_an_error_of_ours_shows_nothing_of_the_inside(host, caplog):
    class Nothing(BaseModel):
        pass

    def broken(call):
        raise ZeroDivisionError("the inside")

    def wrong(call):
        return Nothing()

    table = [
        routing.Route("GET", "/broken", broken, "", "Other", Nothing),
        routing.Route("GET", "/wrong", wrong, "", "Other", schemas.Account),
    ]
    transport = httpx.ASGITransport(routing.app(host, table))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        for path in ("/broken", "/wrong"):
            answer = await client.get(path, headers={"authorization": f"Bearer {KEY}"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
            assert "inside" not in answer.text
    assert "the inside" in caplog.text


# Pages


async def make(client, count: int) -> list[str]:
    return [(await client.post("/containers", json={"name": f"c{number}"})).json()["id"] for number in range(count)]


async def walk(client, path: str, between=None, **query) -> list[str]:
    seen, cursor = [], None
    while True:
        answer = (await client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})).json()
        seen += [entry["id"] for entry in answer["data"]]
        cursor = answer["pageInfo"]["nextCursor"]
        assert answer["pageInfo"]["hasMore"] == (cursor is not None)
        if cursor is None:
            return seen
        if between is not None:
            await between()


@settings(max_examples=15)
@given(
    limit=st.integers(1, 7), order=st.sampled_from(["asc", "desc"]), before=st.integers(0, 5), added=st.integers(0, 3)
)
async def test_walking_pages_while_rows_are_added_repeats_and_loses_none(client, limit, order, before, added):
    await make(client, before)
    there = (await client.get("/containers", params={"limit": 1000})).json()["data"]

    async def add():
        nonlocal added
        if added > 0:
            added -= 1
            await make(client, 1)

    seen = await walk(client, "/containers", add, limit=limit, order=order)
    assert len(seen) == len(set(seen))
    standard = [entry["id"] for entry in there if entry["id"].startswith("ctr_standard_")]  # first in both orders
    own = [entry["id"] for entry in there if entry["id"] not in standard]
    expected = standard + (own if order == "desc" else own[::-1])
    assert [id for id in seen if id in expected] == expected


async def test_a_page_of_large_things_ends_before_its_limit_and_the_next_one_goes_on(client, host):
    """Else an agent that says much makes the server hold all of it at once, when somebody looks at its task."""
    large = {"instructions": "x" * 1_500_000, "overrides": {"model": "scripted"}}
    for _ in range(20):
        id = (await client.post("/agents/agt_standard_data/tasks", json=large)).json()["id"]
    with host.db.atomic():
        for _ in range(19):
            transcript.add(host.db, tasks.get(host.db, id), "assistant", large["instructions"], "completed", host.now())
    pages = (("/tasks", 20), (f"/tasks/{id}/messages", 20), (f"/tasks/{id}/events", 21))
    for order, (path, count) in itertools.product(("asc", "desc"), pages):
        answer = await client.get(path, params={"limit": 1000, "order": order})
        assert len(answer.content) < 25_000_000
        assert len(set(await walk(client, path, limit=1000, order=order))) == count


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"order": "up"},
        {"cursor": "xyz"},
        {"cursor": "bjE"},
        {"cursor": "bi0x"},
        {"cursor": "é"},
    ],
)
async def test_a_page_that_makes_no_sense_is_refused(client, query):
    answer = await client.get("/containers", params=query)
    if query == {"cursor": "bjE"}:  # n1: a real one
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
        assert answer.json()["error"]["fields"][0]["field"] in query


# Idempotency

REPLAYABLE = [
    ("/containers", CONTAINER),
    ("/containers/ctr_standard_coding/fork", {}),
    ("/agents/agt_standard_coding/fork", {}),
    ("/uploads/prepare", {"filename": "f"}),
    (
        "/agents",
        {
            "name": "a",
            "basePrompt": "",
            "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 1},
        },
    ),
    ("/agents/agt_standard_data/tasks", {"instructions": "x", "overrides": {"model": "scripted"}}),
    (
        "/agents/agt_standard_data/conversations",
        {"instructions": "x", "message": "Hello", "overrides": {"model": "scripted"}},
    ),
]


@pytest.mark.parametrize(("path", "body"), REPLAYABLE, ids=[path for path, _ in REPLAYABLE])
async def test_the_same_key_again_has_no_second_effect_and_gets_the_first_answer(client, path, body):
    first, second = [await client.post(path, json=body, headers={"idempotency-key": "k1"}) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    third = await client.post(path, json=body, headers={"idempotency-key": "k2"})
    assert third.json() != first.json()


async def test_a_message_and_a_wake_again_have_no_second_effect(client, host, clock):
    talk, sleeper = running(host, conversation=True), running(host)
    tasks.sleep(host.db, sleeper["id"], clock() + timedelta(hours=1), None, clock())
    for path, body, status in (
        (f"/conversations/{talk['id']}/messages", {"content": "More"}, 201),
        (f"/tasks/{sleeper['id']}/wake", {"kind": "message", "message": "Up"}, 200),
    ):
        first, second = [await client.post(path, json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
        assert (first.status_code, second.status_code, second.json()) == (status, status, first.json())
    for task in (talk, sleeper):
        written = (await client.get(f"/tasks/{task['id']}/messages")).json()["data"]
        assert len(written) == 2, "the first one, and this"


async def test_an_api_key_is_made_once_and_its_answer_is_not_kept(client, host):
    body, headers = {"name": "laptop"}, {"idempotency-key": "k"}
    made = await client.post("/keys", json=body, headers=headers)
    again = await client.post("/keys", json=body, headers=headers)
    assert (made.status_code, again.status_code, again.json()["error"]["code"]) == (201, 409, "conflict")
    assert "new Idempotency-Key" in again.json()["error"]["message"]
    other = await client.post("/keys", json={"name": "phone"}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_conflict"
    assert [key["name"] for key in (await client.get("/keys")).json()["data"]].count("laptop") == 1
    stored = b"".join(path.read_bytes() for path in host.settings.data.glob("agentcontainer.db*"))
    assert b"laptop" in stored and made.json()["key"].encode() not in stored


async def test_another_body_with_the_same_key_is_a_conflict(client):
    await client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"})
    answer = await client.post("/containers", json={"name": "other"}, headers={"idempotency-key": "k"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert "other" not in [entry["name"] for entry in (await client.get("/containers")).json()["data"]]


async def test_a_key_is_of_one_path_and_one_account(client, stranger):
    for caller, path in (
        (client, "/containers"),
        (stranger, "/containers"),
        (client, "/containers/ctr_standard_coding/fork"),
    ):
        answer = await caller.post(path, json=CONTAINER, headers={"idempotency-key": "k"})
        assert answer.status_code == 201
        assert "idempotency-replayed" not in answer.headers


async def test_a_refusal_is_not_kept(client):
    headers = {"idempotency-key": "k"}
    agent = (await client.post("/agents/agt_standard_data/fork")).json()
    body = {"instructions": "x"}
    path = f"/agents/{agent['id']}/tasks"
    assert (await client.post(path, json=body, headers=headers)).json()["error"]["code"] == "provider_key_missing"
    await client.patch(f"/agents/{agent['id']}", json={"defaults": {"model": "scripted"}})
    assert (await client.post(path, json=body, headers=headers)).status_code == 201


async def test_two_at_once_have_one_effect(client):
    answers = await asyncio.gather(
        *(client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"}) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len([entry for entry in (await client.get("/containers")).json()["data"] if not entry["isStandard"]]) == 1


async def test_a_key_holds_across_a_restart(client, host):
    first = await client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"})
    host.db.close()
    set_context(host, db=db.open(host.settings.data / "agentcontainer.db"))
    second = await client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"})
    assert second.json() == first.json()


async def test_a_key_is_forgotten_after_a_day(client, clock):
    first = await client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"})
    clock.advance(24 * 3600 + 1)
    second = await client.post("/containers", json=CONTAINER, headers={"idempotency-key": "k"})
    assert second.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_empty_or_very_long_is_refused(client, key):
    answer = await client.post("/containers", json=CONTAINER, headers={"idempotency-key": key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_every_post_that_makes_something_takes_a_key():
    """Not: what may be done twice anyway."""
    without = {route.path for route in routes.ALL if route.verb == "POST" and not route.replayable}
    assert without == {"/tasks/{taskId}/cancel", "/uploads/{uploadId}/content", "/doctor"}


SENT = st.tuples(st.sampled_from(["k1", "k2", "k3"]), st.sampled_from(["a", "b", ""]))


@settings(max_examples=25)
@given(sent=st.lists(SENT, max_size=12), restarts=st.integers(0, 12))
async def test_a_key_has_one_effect_and_one_answer_whatever_else_is_sent(client, host, clock, sent, restarts):
    clock.advance(25 * 3600)  # what another example has sent is forgotten
    count = "SELECT count(*) AS n FROM containers"
    before = db.row(host.db, count)["n"]
    first: dict[str, tuple[str, str]] = {}  # key → body's name, answer
    for position, (key, name) in enumerate(sent):
        if position == restarts:
            host.db.close()
            set_context(host, db=db.open(host.settings.data / "agentcontainer.db"))
        answer = await client.post("/containers", json={"name": name}, headers={"idempotency-key": key})
        if name == "":
            assert answer.status_code == 422  # a body that makes no sense is nobody's request
        elif key in first and first[key][0] == name:
            assert (answer.status_code, answer.text) == (201, first[key][1])
        elif key in first:
            assert answer.status_code == 409
        else:
            assert answer.status_code == 201
            first[key] = name, answer.text
        assert db.row(host.db, count)["n"] == before + len(first)


# The document


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    with Live(tmp_path_factory.mktemp("document")) as live:
        answer = httpx.get(f"{live.url}/api/v1/openapi.yaml", trust_env=False)
    assert answer.headers["content-type"].startswith("application/yaml")
    return yaml.safe_load(answer.text)


async def test_the_document_has_every_route_with_its_errors(document):
    assert document["openapi"].startswith("3.1")
    for route in routes.ALL:
        if route.prefix != routing.PREFIX:
            continue
        operation = document["paths"][routing.PREFIX + route.path][route.verb.lower()]
        assert operation["summary"]
        responses = set(operation["responses"])
        assert str(route.status) in responses
        assert route.open or "401" in responses
        assert "{" not in route.path or "404" in responses
        assert route.takes is None or {"400", "413", "415", "422"} <= responses
        assert (operation.get("security") == []) == route.open


@pytest.mark.parametrize(
    ("verb", "path", "status", "code"),
    [
        ("post", "/uploads/{uploadId}/content", "400", "bad_request"),
        ("get", "/files/{fileId}/content", "416", "range_not_satisfiable"),
        ("get", "/tasks/{taskId}/files/{fileId}", "416", "range_not_satisfiable"),
        ("post", "/agents", "422", "unsupported"),
        ("patch", "/agents/{agentId}", "422", "unsupported"),
        ("post", "/agents/{agentId}/tasks", "422", "unsupported"),
        ("post", "/agents/{agentId}/conversations", "422", "unsupported"),
    ],
)
async def test_the_document_has_the_refusals_that_only_some_operations_know(document, verb, path, status, code):
    assert f"`{code}`" in document["paths"][routing.PREFIX + path][verb]["responses"][status]["description"]


async def test_the_document_says_of_each_operation_another_id(document):
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


async def test_every_reference_in_the_document_leads_somewhere(document):
    known = document["components"]["schemas"]
    for name in {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}:
        assert name in known


async def test_every_example_in_the_document_fits_its_shape():
    for route in routes.ALL:
        if route.example is not None:
            route.takes.model_validate_json(json.dumps(route.example))
