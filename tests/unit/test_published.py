"""What the published pages say, where a client of the hosted service would notice a difference."""

import gzip
import json

import pytest

from agentcontainer_local.schemas import MAX_INTEGER
from agentcontainer_local.store import db, tasks

STANDARD = {
    "agents": ["agt_standard_coding", "agt_standard_data", "agt_standard_documents"],
    "containers": ["ctr_standard_coding", "ctr_standard_data", "ctr_standard_documents"],
}
AGENT = {
    "name": "a",
    "basePrompt": "p",
    "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60},
}
BODIES = {"agents": AGENT, "containers": {"name": "c", "containerImage": "debian:12"}}
TASK = {"instructions": "x", "overrides": {"model": "scripted"}}
TASKS = "/agents/agt_standard_coding/tasks"
CONVERSATIONS = "/agents/agt_standard_coding/conversations"


async def made(client, kind: str, count: int) -> list[str]:
    return [(await client.post(f"/{kind}", json=BODIES[kind])).json()["id"] for _ in range(count)]


@pytest.mark.parametrize("kind", STANDARD)
async def test_a_client_that_knows_no_cursor_sees_the_standard_ones_first_and_all_of_its_own(client, kind):
    own = await made(client, kind, 120)
    listed = (await client.get(f"/{kind}")).json()
    assert [one["id"] for one in listed["data"]] == [*STANDARD[kind], *reversed(own)]
    assert listed["pageInfo"] == {"hasMore": False, "nextCursor": None}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("kind", STANDARD)
async def test_the_standard_ones_are_first_in_pages_too(client, kind, order, limit):
    own = await made(client, kind, 5)
    seen, cursor = [], ""
    while True:
        page = (await client.get(f"/{kind}", params={"limit": limit, "order": order, "cursor": cursor})).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["pageInfo"]["nextCursor"]
        if not cursor:
            break
    assert seen == [*STANDARD[kind], *(own if order == "asc" else reversed(own))]


async def test_a_list_without_a_limit_has_up_to_1000_rows(client, host):
    with host.db.atomic():
        for n in range(1001):
            host.db.conn.execute(
                "INSERT INTO files (id, account_id, filename, content_type, size_bytes, sha256, created_at)"
                " SELECT ?, id, 'x', 'x', 0, '', '2026-01-01T00:00:00.000Z' FROM accounts",
                (f"file_{n}",),
            )
    listed = (await client.get("/files")).json()
    assert len(listed["data"]) == 1000 and listed["pageInfo"]["hasMore"]


# Skills, titles, repositories


@pytest.mark.parametrize("path", [TASKS, CONVERSATIONS])
async def test_a_task_has_skills_of_its_own(client, host, path):
    skills = [{"skill": "vercel-labs/agent-skills"}]
    more = {"message": "m"} if path == CONVERSATIONS else {}
    answer = await client.post(
        path,
        json={
            "instructions": "x",
            **more,
            "skills": skills,
            "overrides": {"model": "scripted", "internetAccess": True},
        },
    )
    assert answer.status_code == 201, answer.text
    task = answer.json().get("task", answer.json())
    assert task["skills"] == skills
    assert json.loads(tasks.get(host.db, task["id"])["skills"]) == skills


@pytest.mark.parametrize(
    ("skills", "internet", "code", "word"),
    [
        ([{"skill": "a/b"}], False, "validation_error", "internetAccess"),
        ([{"skill": "a/b", "sshKeyId": "k"}], True, "unsupported", "sshKeyId"),
        ([{"skill": "--bad"}], True, "validation_error", "skill"),
    ],
)
async def test_skills_that_cannot_be_had_are_refused(client, skills, internet, code, word):
    answer = await client.post(
        TASKS,
        json={"instructions": "x", "skills": skills, "overrides": {"model": "scripted", "internetAccess": internet}},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert word in answer.json()["error"]["message"]


async def test_a_title_may_say_where_it_comes_from(client):
    task = (await client.post(TASKS, json={**TASK, "title": "T", "titleSource": "user"})).json()
    assert task["title"] == "T"
    renamed = await client.patch(f"/tasks/{task['id']}", json={"title": "U", "titleSource": "generated"})
    assert renamed.json()["title"] == "U"


@pytest.mark.parametrize(
    "given", [["https://git.example/a.git"], [{"url": "x", "ref": "main"}], [{"repositoryId": "r"}]]
)
async def test_repositories_as_inputs_are_refused_with_an_explanation(client, given):
    conversation = {"instructions": "x", "message": "m", "overrides": {"model": "scripted"}}
    for path, body in ((TASKS, TASK), (CONVERSATIONS, conversation)):
        answer = await client.post(path, json={**body, "inputRepositories": given})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unsupported")
        assert "inputRepositories" in answer.json()["error"]["message"]
        for nothing in ([], None):
            assert (await client.post(path, json={**body, "inputRepositories": nothing})).status_code == 201


# Bodies


@pytest.mark.parametrize("body", [TASK, {"instructions": "ä\ufeff", "overrides": {"model": "scripted"}}])
async def test_a_byte_order_mark_before_json_is_accepted(client, body):
    text = b"\xef\xbb\xbf" + json.dumps(body, ensure_ascii=False).encode()
    answer = await client.post(TASKS, content=text, headers={"content-type": "application/json; charset=utf-8"})
    assert answer.status_code == 201 and answer.json()["instructions"] == body["instructions"]


async def test_a_byte_order_mark_alone_is_no_body(client):
    answer = await client.post(TASKS, content=b"\xef\xbb\xbf", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "gzip, identity", "aws-chunked", "x"])
async def test_a_body_that_is_packed_is_refused_and_nothing_is_stored(client, host, encoding):
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    prepared = (await client.post("/uploads/prepare", json={"filename": "a.csv"})).json()
    for verb, url in (("POST", TASKS), ("PUT", prepared["uploadUrl"]), ("POST", prepared["uploadUrl"])):
        answer = await client.request(verb, url, content=gzip.compress(json.dumps(TASK).encode()), headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
        assert answer.headers["accept-encoding"] == "identity"
    assert db.row(host.db, "SELECT count(*) AS n FROM uploads WHERE storage_id IS NOT NULL")["n"] == 0


async def test_what_is_packed_is_refused_however_it_says_so(client, host):
    prepared = (await client.post("/uploads/prepare", json={"filename": "a.csv"})).json()
    twice = [("content-encoding", "identity"), ("content-encoding", "gzip")]
    for headers in (twice, [("transfer-encoding", "gzip, chunked")]):
        answer = await client.put(prepared["uploadUrl"], content=b"abc", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert db.row(host.db, "SELECT count(*) AS n FROM uploads WHERE storage_id IS NOT NULL")["n"] == 0


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Encoding: gzip", 415),
        ("Content-Transfer-Encoding: base64", 415),
        ("content-transfer-encoding:binary", 200),
        ("Content-Transfer-Encoding: 8bit", 200),
        ("Content-Encoding: identity", 200),
    ],
)
async def test_a_part_of_a_form_that_is_packed_is_refused(client, host, header, status):
    prepared = (await client.post("/uploads/prepare", json={"filename": "a.csv"})).json()
    body = f'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n{header}\r\n\r\nYWJj\r\n--b--\r\n'
    answer = await client.post(
        prepared["uploadUrl"], content=body.encode(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == status
    kept = db.row(host.db, "SELECT count(*) AS n FROM uploads WHERE storage_id IS NOT NULL")["n"]
    assert kept == (status == 200)


@pytest.mark.parametrize("query", ["limit=1&limit=", "limit=&limit=1"])
async def test_an_empty_parameter_is_as_one_that_is_not_there(client, query):
    assert len((await client.get(f"/agents?{query}")).json()["data"]) == 1


@pytest.mark.parametrize("encoding", ["identity", "Identity", "", "identity, Identity"])
async def test_a_body_that_says_that_it_is_not_packed_is_taken(client, encoding):
    assert (await client.post(TASKS, json=TASK, headers={"content-encoding": encoding})).status_code == 201


@pytest.mark.parametrize("cursor", [0, 2**62, MAX_INTEGER])
async def test_a_cursor_of_any_number_is_answered(client, cursor):
    from agentcontainer_local.http.pagination import _cursor

    assert (await client.get("/agents", params={"cursor": _cursor(cursor)})).status_code == 200
