"""Uploads, downloads and files, from outside and on disk."""

import asyncio
import hashlib
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.api import routes
from agentcontainer_local.http import routing
from agentcontainer_local.http.downloads import disposition
from agentcontainer_local.store import files
from agentcontainer_local.store.db import new_id
from agentcontainer_local.store.files import disk
from tests.conftest import calling, set_context

HOSTILE = [
    "../../etc/passwd",
    "a\0b",
    "x" * 300 + ".csv",
    "🐧.csv",
    'a"b.csv',
    "a\r\nSet-Cookie: x=1",
    "a\\b",
    ".",
    "%2e%2e",
    "a;b=c.csv",
    "naïve.csv",
    " ",
    "-rf",
]


async def prepare(client, **body) -> dict:
    answer = await client.post("/uploads/prepare", json={"filename": "data.csv", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def complete(client, prepared: dict, **body) -> httpx.Response:
    return await client.post("/uploads/complete", json={"uploadId": prepared["uploadId"], **body})


def on_disk(host) -> list[str]:
    """Names of all bytes there are; those on their way in too."""
    return [path.name for path in host.files.rglob("*") if path.is_file()] if host.files.exists() else []


# Uploading


async def test_bytes_go_in_by_put_and_become_a_file(client, host):
    prepared = await prepare(client, contentType="text/csv", sizeBytes=5)
    assert set(prepared) == {"uploadId", "uploadUrl", "method", "headers", "expiresAt"}
    assert prepared["uploadId"].startswith("upl_")
    assert (prepared["method"], prepared["headers"]) == ("PUT", {"content-type": "text/csv"})
    assert prepared["uploadUrl"].startswith("http://test/api/v1/uploads/")
    assert prepared["expiresAt"] == "2026-03-25T10:30:00.000Z"
    async with calling(host, None) as nobody:
        sent = await nobody.put(prepared["uploadUrl"], content=b"1,2\n\n", headers=prepared["headers"])
    assert sent.status_code == 200
    completed = await complete(client, prepared)
    assert completed.status_code == 201
    file = completed.json()
    assert set(file) == {"id", "fileId", "filename", "contentType", "sizeBytes", "createdAt"}
    assert file["id"] == file["fileId"]
    assert (file["filename"], file["contentType"], file["sizeBytes"]) == ("data.csv", "text/csv", 5)
    assert (await complete(client, prepared)).json() == file, "completing twice answers the same file"
    assert (await client.get(f"/files/{file['id']}/content")).content == b"1,2\n\n"


@pytest.mark.parametrize("how", ["raw", "multipart", "multipart with other fields"])
async def test_bytes_go_in_by_post_and_answer_a_storage_id(client, how):
    content = b"--boundary\r\n\r\n" * 100_000  # larger than a chunk, and full of what looks like an end
    prepared = await prepare(client)
    if how == "raw":
        sent = await client.post(prepared["uploadUrl"], content=content)
    else:
        others = {"other": b"no", "another": ("x.txt", b"no")} if "other" in how else {}
        sent = await client.post(prepared["uploadUrl"], files={**others, "file": ("x.csv", content, "text/csv")})
    assert sent.status_code == 200
    assert set(sent.json()) == {"storageId"}
    wrong = await complete(client, prepared, storageId="kg2")
    assert (wrong.status_code, wrong.json()["error"]["fields"][0]["field"]) == (422, "storageId")
    file = await complete(client, prepared, storageId=sent.json()["storageId"])
    assert (file.status_code, file.json()["sizeBytes"]) == (201, len(content))
    assert (await client.get(f"/files/{file.json()['id']}/content")).content == content


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n1', "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_broken_multipart_body_is_refused_and_the_upload_stays_open(client, host, content, content_type):
    prepared = await prepare(client)
    sent = await client.post(prepared["uploadUrl"], content=content, headers={"content-type": content_type})
    assert (sent.status_code, sent.json()["error"]["code"]) == (400, "bad_request")
    assert on_disk(host) == []
    assert (await client.put(prepared["uploadUrl"], content=b"x")).status_code == 200


async def test_an_empty_file_is_a_file(client, upload):
    file_id = await upload(b"")
    assert (await client.get(f"/files/{file_id}")).json()["sizeBytes"] == 0
    answer = await client.get(f"/files/{file_id}/content")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_content_type_is_kept_and_has_a_default(client):
    for given_type, kept in (
        ("text/x-é", None),
        (None, "application/octet-stream"),
        ("", "application/octet-stream"),
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
    ):
        answer = await client.post("/uploads/prepare", json={"filename": "x", "contentType": given_type})
        if kept is None:
            assert answer.status_code == 422
        else:
            assert answer.json()["headers"] == {"content-type": kept}


async def test_exactly_the_announced_bytes_must_come(client, host):
    async def unannounced(content: bytes):
        yield content

    prepared = await prepare(client, sizeBytes=5.0)
    for content in (b"1234", b"123456", unannounced(b"1234"), unannounced(b"123456")):
        sent = await client.put(prepared["uploadUrl"], content=content)
        assert sent.status_code == 422
        assert sent.json()["error"]["fields"][0]["field"] == "sizeBytes"
    assert on_disk(host) == []
    assert (await client.put(prepared["uploadUrl"], content=unannounced(b"12345"))).status_code == 200


async def test_a_file_over_the_limit_is_refused_before_and_while_it_comes(client, host):
    set_context(host, settings=host.settings.model_copy(update={"max_file_bytes": 10}))

    async def unannounced():
        yield b"12345678"
        yield b"12345678"

    assert (await client.post("/uploads/prepare", json={"filename": "x", "sizeBytes": 11})).status_code == 413
    prepared = await prepare(client)
    for content in (b"x" * 11, unannounced()):
        sent = await client.put(prepared["uploadUrl"], content=content)
        assert (sent.status_code, sent.json()["error"]["code"]) == (413, "too_large")
    assert on_disk(host) == []


@pytest.mark.parametrize("verb", ["PUT", "POST"])
async def test_bytes_that_are_sent_again_replace_those_before_until_the_upload_is_complete(client, host, verb):
    prepared = await prepare(client)
    for content in (b"first", b"second, longer"):
        assert (await client.request(verb, prepared["uploadUrl"], content=content)).status_code == 200
    assert len(on_disk(host)) == 1
    file = (await complete(client, prepared)).json()
    assert (await client.get(f"/files/{file['id']}/content")).content == b"second, longer"
    assert (await client.request(verb, prepared["uploadUrl"], content=b"third")).status_code == 409
    assert (await client.get(f"/files/{file['id']}/content")).content == b"second, longer"


async def test_of_bytes_that_are_sent_at_once_one_body_is_kept_whole(client, host):
    prepared = await prepare(client)
    bodies = [bytes([n]) * 1000 for n in range(5)]
    sent = await asyncio.gather(*(client.put(prepared["uploadUrl"], content=body) for body in bodies))
    assert {answer.status_code for answer in sent} == {200} and len(on_disk(host)) == 1
    file = (await complete(client, prepared)).json()
    assert (await client.get(f"/files/{file['id']}/content")).content in bodies


async def test_bytes_that_are_refused_replace_nothing(client, host):
    prepared = (await client.post("/uploads/prepare", json={"filename": "x", "sizeBytes": 3})).json()
    assert (await client.put(prepared["uploadUrl"], content=b"abc")).status_code == 200
    assert (await client.put(prepared["uploadUrl"], content=b"ab")).status_code == 422
    file = (await complete(client, prepared)).json()
    assert (await client.get(f"/files/{file['id']}/content")).content == b"abc"


async def test_an_expired_upload_takes_no_bytes(client, clock):
    prepared = await prepare(client)
    clock.advance(3600)
    sent = await client.put(prepared["uploadUrl"], content=b"x")
    assert (sent.status_code, sent.json()["error"]["code"]) == (409, "conflict")


async def test_an_upload_without_its_bytes_cannot_be_completed(client):
    answer = await complete(client, await prepare(client))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_an_upload_of_somebody_else_does_not_exist(client, stranger):
    prepared = await prepare(client)
    await client.put(prepared["uploadUrl"], content=b"x")
    assert (await complete(stranger, prepared)).status_code == 404
    assert (await complete(client, {"uploadId": "upl_none"})).status_code == 404


async def test_the_upload_url_is_signed(client):
    one, two = await prepare(client), await prepare(client)
    signature = one["uploadUrl"].partition("?")[2]
    for url in (
        two["uploadUrl"].partition("?")[0],
        two["uploadUrl"].partition("?")[0] + "?" + signature,
        one["uploadUrl"] + "x",
        one["uploadUrl"][:-1] + "é",
    ):
        answer = await client.put(url, content=b"x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


async def test_the_upload_url_stands_on_the_public_url(client, host):
    set_context(host, settings=host.settings.model_copy(update={"public_url": "https://agents.example.org/"}))
    assert (await prepare(client))["uploadUrl"].startswith("https://agents.example.org/api/v1/uploads/upl_")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filename": ""},
        {"filename": 1},
        {"filename": "x" * 1001},
        {"filename": "x", "sizeBytes": -1},
        {"filename": "x", "sizeBytes": "5"},
        {"filename": "x", "sizeBytes": 2**63},
        {"filename": "x", "contentType": "a\nb"},
    ],
)
async def test_an_upload_that_makes_no_sense_is_refused(client, body):
    answer = await client.post("/uploads/prepare", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")


async def test_a_client_that_goes_away_leaves_nothing(client, host):
    url = httpx.URL((await prepare(client))["uploadUrl"])
    begun = {"type": "http.request", "body": b"x" * 3_000_000, "more_body": True}
    messages = iter([begun, {"type": "http.disconnect"}])
    answered = []

    async def receive():
        return next(messages)

    async def send(message):
        answered.append(message)

    scope = {"type": "http", "method": "PUT", "path": url.path, "query_string": url.query, "headers": []}
    await routing.app(host, routes.ALL)(scope, receive, send)
    assert answered == []
    assert on_disk(host) == []


# Downloading


async def test_a_file_that_goes_while_it_is_asked_for_is_not_there(client, host, upload):
    """Its row goes first, and its bytes soon after; who saw the row may find no bytes."""
    file_id = await upload(b"bytes")
    files.path(host.files, file_id).unlink()
    answer = await client.get(f"/files/{file_id}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_download_is_never_shown_and_never_guessed(client, upload):
    file_id = await upload(b"<script>alert(1)</script>", "x.html")
    answer = await client.get(f"/files/{file_id}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == "25"
    head = await client.head(f"/files/{file_id}/content")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "25")


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_stored_as_they_are_and_served_safely(client, host, upload, name):
    file_id = await upload(b"x", name)
    assert (await client.get(f"/files/{file_id}")).json()["filename"] == name
    answer = await client.get(f"/files/{file_id}/content")
    header = answer.headers["content-disposition"]
    assert unquote(header.partition("filename*=UTF-8''")[2]) == name
    assert "set-cookie" not in answer.headers
    assert on_disk(host) == [file_id]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_no_name_leaves_its_place_in_the_header(name):
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    fallback, _, extended = header.removeprefix('attachment; filename="').partition("\"; filename*=UTF-8''")
    assert '"' not in fallback and "\\" not in fallback
    assert ";" not in extended and unquote(extended) == name


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-4", 206, b"01234"),
        ("bytes=5-", 206, b"56789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=9-99", 206, b"9"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=99-100", 416, None),
        ("bytes=5-2", 200, b"0123456789"),
        ("bytes=x-y", 200, b"0123456789"),
        ("lines=0-4", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=" + "9" * 99 + "-", 200, b"0123456789"),
    ],
)
async def test_a_part_can_be_downloaded(client, upload, asked, status, content):
    file_id = await upload(b"0123456789")
    answer = await client.get(f"/files/{file_id}/content", headers={"range": asked})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["content-range"] == "bytes */10"
        assert answer.json()["error"]["code"] == "range_not_satisfiable"
    else:
        assert answer.content == content


async def test_what_has_not_changed_is_not_sent_again(client, upload):
    content = b"0123456789"
    path = f"/files/{await upload(content)}/content"
    etag = (await client.get(path)).headers["etag"]
    assert etag == f'"{hashlib.sha256(content).hexdigest()}"'
    for tag in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get(path, headers={"if-none-match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200
    same = await client.get(path, headers={"range": "bytes=0-1", "if-range": etag})
    other = await client.get(path, headers={"range": "bytes=99-", "if-range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("asked", ["bytes=0-4", "bytes=99-"])
async def test_a_range_is_of_a_get_alone(client, upload, asked):
    answer = await client.head(f"/files/{await upload(b'0123456789')}/content", headers={"range": asked})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "10")


# Files


async def test_files_are_listed_and_answered(client, upload):
    one, two = await upload(b"1", "a"), await upload(b"2", "b")
    listed = (await client.get("/files")).json()["data"]
    assert [entry["id"] for entry in listed] == [two, one]
    assert set(listed[0]) == {"id", "filename", "contentType", "sizeBytes", "createdAt"}
    assert (await client.get(f"/files/{two}")).json() == listed[0]


async def test_deleting_a_file_frees_its_bytes(client, host, upload):
    file_id = await upload(b"x")
    assert (await client.delete(f"/files/{file_id}")).status_code == 204
    assert on_disk(host) == []
    for verb, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        assert (await client.request(verb, f"/files/{file_id}{path}")).status_code == 404


async def test_a_file_that_a_task_or_a_version_needs_cannot_be_deleted(client, host, upload):
    for_task, for_agent = await upload(b"1"), await upload(b"2")
    await client.post(
        "/agents/agt_standard_data/tasks",
        json={
            "instructions": "x",
            "inputFileIds": [for_task],
            "overrides": {"model": "scripted"},
        },
    )
    agent = (await client.post("/agents/agt_standard_data/fork")).json()
    await client.post(f"/agents/{agent['id']}/reference-files", json={"fileIds": [for_agent]})
    for file_id in (for_task, for_agent):
        answer = await client.delete(f"/files/{file_id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    assert sorted(on_disk(host)) == sorted([for_task, for_agent])


async def test_a_file_of_somebody_else_does_not_exist(client, stranger, upload):
    file_id = await upload(b"x")
    for verb, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        assert (await stranger.request(verb, f"/files/{file_id}{path}")).status_code == 404
    assert (await stranger.get("/files")).json()["data"] == []
    assert (await client.get(f"/files/{file_id}/content")).content == b"x"


# What a crash leaves


async def test_what_no_row_names_is_swept_at_start_and_nothing_else(client, host, upload):
    kept = await upload(b"1")
    waiting = await prepare(client)
    waiting_id = (await client.put(waiting["uploadUrl"], content=b"2")).json()["storageId"]
    async with files.receiving(host.files, new_id("file"), 10) as orphan:
        await orphan.write(b"3")
    (host.files / "incoming" / "half").write_bytes(b"4")
    (host.files / "lost+found").mkdir()  # of a disk that is mounted there
    files.sweep(host.db, host.files)
    assert sorted(on_disk(host)) == sorted([kept, waiting_id])
    assert (await complete(client, waiting)).status_code == 201


async def test_an_upload_that_nobody_completes_is_forgotten_with_its_bytes(client, host, upload, clock):
    kept = await upload(b"1")
    waiting = await prepare(client)
    await client.put(waiting["uploadUrl"], content=b"2")
    clock.advance(3600 + 3600 + 1)
    files.uploads.forget_expired(host.db, host.files, host.now())
    assert on_disk(host) == [kept]
    assert (await complete(client, waiting)).status_code == 404


async def test_what_is_written_while_an_error_comes_is_gone(host):
    with pytest.raises(ZeroDivisionError):
        async with files.receiving(host.files, new_id("file"), 10) as incoming:
            await incoming.write(b"123")
            raise ZeroDivisionError
    with pytest.raises(files.disk.TooLarge):
        async with files.receiving(host.files, new_id("file"), 10) as incoming:
            await incoming.write(b"x" * 11)
    assert on_disk(host) == []


@settings(max_examples=30)
@given(chunks=st.lists(st.binary(max_size=50), max_size=20))
async def test_what_goes_in_is_what_is_there(tmp_path_factory, chunks):
    root = tmp_path_factory.mktemp("files")
    async with files.receiving(root, new_id("file"), 10_000) as incoming:
        for chunk in chunks:
            await incoming.write(chunk)
    content = b"".join(chunks)
    assert files.path(root, incoming.name).read_bytes() == content
    assert (incoming.size, incoming.sha256) == (len(content), hashlib.sha256(content).hexdigest())


# Quotas


async def test_files_over_the_quota_are_refused_before_and_after_they_come(client, host, upload):
    set_context(host, settings=host.settings.model_copy(update={"file_quota_bytes": 10}))
    await upload(b"12345")
    storage = (await client.get("/account")).json()["fileStorage"]
    assert storage == {"usedBytes": 5, "quotaBytes": 10, "isEnforced": True}
    announced = await client.post("/uploads/prepare", json={"filename": "x", "sizeBytes": 6})
    assert (announced.status_code, announced.json()["error"]["code"]) == (413, "too_large")
    prepared = (await client.post("/uploads/prepare", json={"filename": "x"})).json()
    assert (await client.put(prepared["uploadUrl"], content=b"123456")).status_code == 413
    assert (await client.put(prepared["uploadUrl"], content=b"12345")).status_code == 200


async def test_uploads_that_nobody_completes_count_too(client, host):
    """Else a client that never completes any fills the disk, whatever its quota."""
    set_context(host, settings=host.settings.model_copy(update={"file_quota_bytes": 10}))
    first, second = [(await client.post("/uploads/prepare", json={"filename": "x"})).json() for _ in range(2)]
    assert (await client.put(first["uploadUrl"], content=b"1234567")).status_code == 200
    assert (await client.put(second["uploadUrl"], content=b"1234567")).status_code == 413
    assert (await client.get("/account")).json()["fileStorage"]["usedBytes"] == 7
    completed = await client.post("/uploads/complete", json={"uploadId": first["uploadId"]})
    assert completed.status_code == 201
    assert (await client.get("/account")).json()["fileStorage"]["usedBytes"] == 7
    await client.delete(f"/files/{completed.json()['id']}")
    assert (await client.put(second["uploadUrl"], content=b"1234567")).status_code == 200


async def test_uploads_on_their_way_count_too(client, host):
    """Else a hundred at once put a hundred times the quota on the disk, and are all refused only then."""
    batch = b"x" * disk.BATCH_BYTES
    set_context(host, settings=host.settings.model_copy(update={"file_quota_bytes": 3 * len(batch)}))
    go_on, prepared = asyncio.Event(), [await prepare(client) for _ in range(4)]

    async def stalling():
        yield 2 * batch
        await go_on.wait()

    async def flowing():
        for _ in range(2):
            yield batch

    def stored() -> int:
        return sum(path.stat().st_size for path in (host.files / disk.INCOMING).glob("*"))

    async def until_stored(size: int) -> None:
        async with asyncio.timeout(10):
            while stored() != size:
                await asyncio.sleep(0.01)

    cut = asyncio.create_task(client.put(prepared[0]["uploadUrl"], content=stalling()))
    await until_stored(2 * len(batch))
    assert (await client.put(prepared[1]["uploadUrl"], content=flowing())).status_code == 413
    assert stored() == 2 * len(batch)
    cut.cancel()
    await asyncio.wait({cut})
    await until_stored(0)
    stalled = asyncio.create_task(client.put(prepared[0]["uploadUrl"], content=stalling()))
    await until_stored(2 * len(batch))
    assert (await client.put(prepared[2]["uploadUrl"], content=batch)).status_code == 200
    go_on.set()
    assert (await stalled).status_code == 200
    assert (await client.put(prepared[3]["uploadUrl"], content=b"x")).status_code == 413
    assert (await client.get("/account")).json()["fileStorage"]["usedBytes"] == 3 * len(batch)


async def test_kept_workspaces_are_counted_and_over_their_quota_no_conversation_starts(client, host):
    agent = "/agents/agt_standard_data"
    body = {"instructions": "i", "message": "m", "overrides": {"model": "scripted"}}
    task = (await client.post(f"{agent}/conversations", json=body)).json()["task"]
    host.db.conn.execute("UPDATE tasks SET kept_bytes = 7 WHERE id = ?", (task["id"],))
    set_context(host, settings=host.settings.model_copy(update={"checkpoint_quota_bytes": 7}))
    storage = (await client.get("/account")).json()["checkpointStorage"]
    assert storage == {"usedBytes": 7, "quotaBytes": 7, "isEnforced": True}
    assert (await client.post(f"{agent}/conversations", json=body)).status_code == 413
    plain = {"instructions": "i", "overrides": {"model": "scripted"}}
    assert (await client.post(f"{agent}/tasks", json=plain)).status_code == 201
