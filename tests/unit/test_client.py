"""The Python client against the real API: each test is run with the blocking client and with the awaiting one."""

import asyncio
import gc
import inspect
import io
import os
import re
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local import schemas
from agentcontainer_local.api import routes
from agentcontainer_local.client import (
    AsyncClient,
    Client,
    ClientError,
    Event,
    LocalFile,
    NoKey,
    NotReachable,
    Refused,
    TaskEnded,
    TimedOut,
    WrongUse,
)
from agentcontainer_local.client import operations as table
from agentcontainer_local.client.effects import Open, Send, Work
from agentcontainer_local.client.events import Parser
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import rows
from tests.conftest import KEY
from tests.live import Live
from tests.unit.cli import acts

MIB = 1024**2
AGENT = "agt_standard_data"
SCRIPTED = {"model": "scripted"}


class Blocking:
    """The awaiting client, with each operation awaited: what is true of one client is so tested of the other."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str):
        operation = getattr(self._client, name)

        def call(*args, **options):
            answer = operation(*args, **options)
            return self._walk(answer) if hasattr(answer, "__anext__") else self._loop.run_until_complete(answer)

        return call

    def _walk(self, values) -> Iterator:
        try:
            while (value := self._loop.run_until_complete(anext(values, self))) is not self:
                yield value
        finally:
            self._loop.run_until_complete(values.aclose())

    def __enter__(self) -> "Blocking":
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class Faults:
    """Before the API: what the next requests meet instead of an answer, by a function of (scope, receive, send)."""

    def __init__(self):
        self.plan: list = []
        self.seen: list[tuple[str, str, dict]] = []

    def __call__(self, app):
        async def faulty(scope, receive, send):
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.seen.append((scope["method"], scope["path"], headers))
            fault = self.plan.pop(0) if self.plan else None
            if fault is None:
                await app(scope, receive, send)
            else:
                await fault(app, scope, receive, send)

        return faulty


def says(status: int, **headers: str):
    async def fault(app, scope, receive, send):
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b'{"error":{"code":"unavailable","message":"Later."}}'})

    return fault


def cut(receive) -> None:
    """Ends the connection as a dying server does; uvicorn would answer 500 to an exception."""
    receive.__self__.transport.abort()


async def lost_before(app, scope, receive, send):
    cut(receive)


async def lost_after(app, scope, receive, send):
    """The API acts, and its answer never comes."""

    async def nothing(message):
        pass

    await app(scope, receive, nothing)
    cut(receive)


def cut_after(count: int):
    """The answer ends in the middle: after so many bytes of its body."""

    async def fault(app, scope, receive, send):
        left = count

        async def part(message):
            nonlocal left
            if message["type"] == "http.response.body":
                body = message.get("body", b"")[:left]
                left -= len(body)
                await send({**message, "body": body, "more_body": True})
                if left <= 0:
                    await asyncio.sleep(0.05)  # so that what was sent has arrived
                    cut(receive)
                    raise ConnectionError("cut in the middle")
            else:
                await send(message)

        await app(scope, receive, part)

    return fault


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def live(tmp_path: Path, faults: Faults, caplog) -> Iterator[Live]:
    caplog.set_level("CRITICAL")
    with Live(tmp_path, faults) as live:
        yield live


@pytest.fixture(params=[Client, Blocking], ids=["blocking", "awaiting"])
def client(request, live: Live) -> Iterator[Client]:
    with request.param(live.url, KEY) as client:
        yield client


def dispatch(client: Client, **fields) -> schemas.Task:
    return client.create_task(AGENT, **{"instructions": "Look.", "overrides": SCRIPTED, **fields})


# Every operation


def test_answers_are_the_shapes_that_the_server_writes(client):
    account = client.get_account()
    assert isinstance(account, schemas.Account) and account.billing_mode == "unlimited_grant"
    task = dispatch(client)
    assert isinstance(task, schemas.Task)
    assert client.get_task(task.id) == task


def test_fields_go_by_either_name_and_shapes_go_as_they_are(client):
    by_name = client.create_container(name="a", container_image="docker.io/library/debian:12")
    by_wire = client.create_container({"name": "a", "containerImage": "docker.io/library/debian:12"})
    shape = schemas.CreateContainerRequest(name="a", containerImage="docker.io/library/debian:12")
    by_shape = client.create_container(shape)
    images = {made.current_version.container_image for made in (by_name, by_wire, by_shape)}
    assert images == {"docker.io/library/debian:12"}


def test_metadata_reaches_the_server_with_its_own_keys(client):
    task = dispatch(client, metadata={"input_file_ids": 1, "caseId": 2})
    assert task.metadata == {"input_file_ids": 1, "caseId": 2}


def test_a_null_that_means_something_is_sent(client):
    agent = client.fork_agent(AGENT)
    client.update_agent(agent.id, defaults={"provider": "anthropic", "provider_api_key": "sk-1"})
    assert client.get_agent(agent.id).current_version.defaults.has_provider_api_key
    client.update_agent(agent.id, defaults={"provider_api_key": None})
    assert not client.get_agent(agent.id).current_version.defaults.has_provider_api_key


def test_a_field_that_there_is_not_is_refused_before_anything_is_sent(client, faults):
    with pytest.raises(WrongUse, match="instuctions") as wrong:
        client.create_task(AGENT, instuctions="Look.")
    assert "instuctions" in {field["field"] for field in wrong.value.fields}
    assert faults.seen == []


def test_a_refusal_carries_status_code_message_and_fields(client):
    with pytest.raises(Refused) as refused:
        client.get_task("tsk_nobody")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(Refused) as refused:
        client.create_task(AGENT, instructions="x", input_file_ids=["file_nobody"], overrides=SCRIPTED)
    assert refused.value.status == 422 and refused.value.fields[0]["field"].startswith("inputFileIds")


def test_a_wrong_key_is_refused(live):
    with Client(live.url, "ac_live_wrong") as client, pytest.raises(Refused) as refused:
        client.get_account()
    assert refused.value.status == 401


@pytest.mark.parametrize("key", ["", " \n", "ac_live_a\nb", "ac_live_schlüssel", "ac live", "ac_live_\udcff", "\x00"])
def test_a_key_that_is_none_is_refused_before_anything_is_sent_and_never_shown(live, faults, monkeypatch, key):
    monkeypatch.delenv("AGENTCONTAINER_API_KEY", raising=False)
    for made in (lambda: Client(live.url, key), lambda: AsyncClient(live.url, key)):
        with pytest.raises(NoKey) as wrong:
            made()
        assert not key.strip() or key not in str(wrong.value) + repr(wrong.value)
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", key.replace("\x00", "\x01"))
    with pytest.raises(NoKey):
        Client(live.url)
    assert faults.seen == []


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {} ", "\t{}\n\n"])
def test_a_key_is_taken_without_what_a_file_has_around_it(live, monkeypatch, around):
    with Client(live.url, around.format(KEY)) as client:
        assert client.get_account().id
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", around.format(KEY))
    with Client(live.url) as client:
        assert client.get_account().id


@pytest.mark.parametrize("ending", ["/", "/api/v1", "/api/v1/", " \n"])
def test_an_address_may_end_as_people_write_it(live, ending):
    with Client(live.url + ending, KEY) as client:
        assert client.url == live.url and client.get_account().id


def test_an_id_cannot_lead_to_another_path(client, faults):
    with pytest.raises(Refused):
        client.get_task("../account?x=")
    assert faults.seen[-1][1].startswith("/api/v1/tasks/")


def test_lists_are_walked_page_after_page(client, monkeypatch):
    monkeypatch.setattr(table, "PAGE", 2)
    made = [client.create_container(name=f"c{number}").id for number in range(5)]
    listed = [container.id for container in client.list_containers(order="asc") if not container.is_standard]
    assert listed == made
    assert len(list(client.list_containers(limit=3))) == 3
    assert list(client.list_containers(limit=0)) == []


def test_keys_providers_and_credit(client):
    made = client.create_key("laptop")
    assert made.key.startswith("ac_live_")
    client.revoke_key(made.id)
    assert {key.name: bool(key.revoked_at) for key in client.list_keys()}["laptop"]
    client.set_provider("openai", api_key="sk-2", is_default=True)
    assert [p.provider for p in client.list_providers() if p.is_default] == ["openai"]
    client.remove_provider("openai")
    assert not any(p.has_api_key for p in client.list_providers())
    assert client.add_credit(1.25).balance_usd == 1.25
    assert [(entry.kind, entry.amount_usd) for entry in client.list_credit_entries()] == [("grant", 1.25)]


@pytest.mark.parametrize("amount", [0, -1, 1e9, "1"])
def test_credit_is_added_in_sensible_amounts_only(live, amount):
    with Client(live.url, KEY) as client:
        with pytest.raises(Refused) as refused:
            client.add_credit(amount)
        assert refused.value.status == 422
        assert client.get_credit().balance_usd == 0


def test_a_conversation_is_begun_and_goes_on(client):
    begun = client.create_conversation(AGENT, instructions="Talk.", message="Hello?", overrides=SCRIPTED)
    said = client.create_message(begun.task.id, content="And?")
    assert (said.message.status, said.message.turn_number) == ("queued", 2)
    assert [message.content for message in client.list_messages(begun.task.id)] == ["Hello?", "And?"]


UPLOAD = {("POST", "/uploads/prepare"), ("PUT", "/uploads/{}/content"), ("POST", "/uploads/complete")}
OTHER_WAYS = {
    ("POST", "/uploads/{}/content"),
    ("GET", "/tasks/{}/files.zip"),
    ("GET", "/openapi.json"),
    *(("GET", f"/conversations/{{}}/{what}") for what in ("events", "messages", "activities")),
}
FIELDS = {
    "create_agent": {
        "name": "a",
        "basePrompt": "",
        "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60},
    },
    "create_task": {"instructions": "x"},
    "create_message": {"content": "x"},
    "create_container": {"name": "x"},
    "create_conversation": {"instructions": "x", "message": "x"},
}


def test_every_route_of_the_api_has_an_operation():
    programs = {
        name: found.program for name, found in table.table().items() if name not in ("upload", "run", "download_all")
    }
    reached = {asked(program, FIELDS.get(name, {})) for name, program in programs.items()} | UPLOAD | OTHER_WAYS
    reached.add(asked(programs["list_tasks"], {"agent_id": "ID"}))
    assert {(route.verb, re.sub("{.*?}", "{}", route.path)) for route in routes.ALL} == reached


def asked(program, fields: dict) -> tuple[str, str]:
    """Verb and path of what a program asks first, with made-up ids."""
    required = [
        parameter
        for parameter in inspect.signature(program).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    running = program(*(io.BytesIO() if parameter.name == "to" else "ID" for parameter in required), **fields)
    effect = next(running)
    while not isinstance(effect, Send | Open):
        effect = running.send(effect.function() if isinstance(effect, Work) else 0)
    running.close()
    return effect.request.method, effect.request.url.replace("ID", "{}")


# When things go wrong


@pytest.mark.parametrize(
    "fault",
    [lost_before, lost_after, says(503), says(429, retry_after="1")],
    ids=["cut before", "cut after", "503", "429"],
)
def test_a_dispatch_that_meets_a_fault_is_repeated_and_happens_once(client, faults, fault):
    faults.plan = [fault]
    task = dispatch(client)
    assert [made.id for made in client.list_tasks()] == [task.id]
    keys = {headers["idempotency-key"] for verb, _, headers in faults.seen if verb == "POST"}
    assert len(keys) == 1


def test_two_dispatches_have_two_keys(client):
    assert dispatch(client).id != dispatch(client).id


def test_retry_after_is_waited_for(client, faults):
    faults.plan = [says(429, retry_after="1")]
    began = time.monotonic()
    client.get_account()
    assert time.monotonic() - began >= 1


def test_a_post_that_the_server_would_not_know_again_is_not_repeated_after_it_was_sent(client, faults):
    faults.plan = [lost_after]
    with pytest.raises(NotReachable):
        client.create_key("once")
    assert len([key for key in client.list_keys() if key.name == "once"]) == 1


def test_a_refusal_is_not_repeated(client, faults):
    with pytest.raises(Refused):
        client.get_task("tsk_nobody")
    assert len(faults.seen) == 1


def test_patience_ends(live, faults):
    faults.plan = [says(503)] * 3
    with Client(live.url, KEY, retries=2) as client:
        with pytest.raises(Refused) as refused:
            client.get_account()
        assert refused.value.status == 503 and len(faults.seen) == 3
        faults.plan = [lost_before] * 3
        with pytest.raises(NotReachable):
            client.get_account()


def test_no_server_is_said_to_be_no_server():
    with Client("http://127.0.0.1:9", KEY, retries=0) as client, pytest.raises(NotReachable):
        client.get_account()


def test_what_is_no_url_is_refused():
    with pytest.raises(ValueError, match="http"):
        Client("localhost:3000")


def test_what_is_no_answer_of_the_api_is_a_refusal_too(live, faults):
    async def proxy(app, scope, receive, send):
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>Bad gateway</html>"})

    faults.plan = [proxy]
    with Client(live.url, KEY) as client, pytest.raises(Refused, match="Bad gateway") as refused:
        client.get_account()
    assert refused.value.status == 502


# Files


def test_a_file_goes_up_and_comes_down_the_same(client, tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "Größe 1.csv").write_bytes(content)
    steps = []
    file = client.upload(tmp_path / "Größe 1.csv", progress=lambda done, size: steps.append((done, size)))
    assert (file.filename, file.size_bytes, file.content_type) == ("Größe 1.csv", len(content), "text/csv")
    assert steps[-1] == (len(content), len(content)) and steps == sorted(steps)
    received = []
    client.download_file(file.id, tmp_path / "back", progress=lambda done, size: received.append((done, size)))
    assert (tmp_path / "back").read_bytes() == content
    assert received[-1] == (len(content), len(content))


def test_bytes_and_empty_files_go_too(client, tmp_path):
    file = client.upload(b"", filename="empty")
    client.download_file(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""
    with pytest.raises(TypeError):
        client.upload(b"x")


@pytest.mark.parametrize("at", [0, 1], ids=["prepare", "bytes"])
@pytest.mark.parametrize("fault", [lost_before, lost_after, says(503)], ids=["cut before", "cut after", "503"])
def test_an_upload_that_meets_a_fault_is_one_file(client, faults, at, fault):
    faults.plan = [None] * at + [fault]
    client.upload(b"x" * MIB, filename="f")
    assert [file.size_bytes for file in client.list_files()] == [MIB]


def test_a_download_that_is_cut_goes_on_where_it_stopped(client, faults, tmp_path):
    content = bytes(range(256)) * 8192
    file = client.upload(content, filename="f")
    faults.seen.clear()
    faults.plan = [cut_after(MIB), cut_after(MIB // 2)]
    client.download_file(file.id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    ranges = [headers.get("range") for _, _, headers in faults.seen]
    assert ranges == [None, f"bytes={MIB}-", f"bytes={MIB + MIB // 2}-"]


def test_a_download_that_fails_leaves_nothing(live, faults, tmp_path):
    with Client(live.url, KEY, retries=0) as client:
        file = client.upload(b"x" * MIB, filename="f")
        faults.plan = [cut_after(1000)]
        (tmp_path / "out").mkdir()
        with pytest.raises(NotReachable):
            client.download_file(file.id, tmp_path / "out" / "f")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_shrinks_while_it_is_sent_is_not_half_a_file(client, tmp_path):
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * 4 * MIB)
    with pytest.raises(ClientError, match="shorter"):
        client.upload(path, progress=lambda done, size: path.write_bytes(b""))
    assert list(client.list_files()) == []


def test_transfers_take_constant_memory(client, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(96 * MIB)
    client.upload(b"warm", filename="warm")
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        file = client.upload(path)
        client.download_file(file.id, tmp_path / "back")
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (tmp_path / "back").stat().st_size == 96 * MIB
    assert peak < 16 * MIB  # the server of this test included, which is in the same process


# What happens in a task


def end(live: Live, task_id: str) -> None:
    live.do(lambda host: tasks.apply(host.db, task_id, "started", host.now()))
    live.do(lambda host: tasks.apply(host.db, task_id, "finished", host.now(), result="Done"))


def moves(events: list[Event]) -> list[str]:
    return [event.data["status"] for event in events if event.event == "task.updated"]


def test_wait_answers_the_ended_task(client, live):
    task = dispatch(client)
    later = threading.Timer(0.3, end, (live, task.id))
    later.start()
    assert client.wait(task.id, timeout=20).result == "Done"
    later.join()


def test_wait_takes_a_status_and_gives_up_in_time(client, live):
    task = dispatch(client)
    assert client.wait(task.id, "pending").status == "pending"
    began = time.monotonic()
    with pytest.raises(TimedOut, match="pending"):
        client.wait(task.id, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 5


def test_a_stream_tells_everything_once_to_the_end(client, live):
    task = dispatch(client)
    later = threading.Timer(0.3, end, (live, task.id))
    later.start()
    events = list(client.stream(task.id))
    assert moves(events) == ["pending", "running", "finished"]
    assert [event.id for event in events] == sorted({event.id for event in events})
    later.join()
    stored = list(client.list_events(task.id))
    assert [(event.id, event.event, event.data) for event in events] == [(e.id, e.event, e.data) for e in stored]


def test_a_stream_that_is_cut_resumes_without_loss_or_repetition(client, live, faults):
    task = dispatch(client)
    for _ in range(3):
        live.do(lambda host: tasks.apply(host.db, task.id, "started", host.now()))
        live.do(lambda host: tasks.apply(host.db, task.id, "interrupted", host.now()))
    end(live, task.id)
    faults.plan = [cut_after(150), cut_after(310), lost_before, says(503), cut_after(1)]
    events = list(client.stream(task.id))
    expected = ["pending", *["running", "pending"] * 3, "running", "finished"]
    assert moves(events) == expected
    assert [event.id for event in events] == [event.id for event in client.list_events(task.id)]


def test_a_stream_of_what_has_been_heard_ends_at_once(client, live):
    task = dispatch(client)
    end(live, task.id)
    last = list(client.stream(task.id))[-1].id
    assert list(client.stream(task.id, after=last)) == []


def test_a_stream_may_be_left(client, live):
    task = dispatch(client)
    events = client.stream(task.id)
    assert next(events).data["status"] == "pending"
    events.close()
    assert client.get_task(task.id).status == "pending"


def test_a_stream_of_nothing_is_refused(client):
    with pytest.raises(Refused):
        list(client.stream("tsk_nobody"))


STREAM = (
    b'id: 1\r\nevent: task.updated\r\ndata: {"status":"pending"}\r\n\r\n: still here\n\n'
    b'event: message.delta\ndata: {"text":"a\xc3\xa4"}\n\nid: 2\nevent: x\ndata: [1,\ndata: 2]\n\n'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_from_pieces_of_any_size(size):
    parser = Parser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == [
        Event(1, "task.updated", {"status": "pending"}),
        Event(None, "message.delta", {"text": "aä"}),
        Event(2, "x", [1, 2]),
    ]


async def test_the_awaiting_client_lets_others_work_meanwhile(live):
    async with AsyncClient(live.url, KEY) as client:
        made = await asyncio.gather(*(client.create_container(name=f"c{number}") for number in range(20)))
        assert len({container.id for container in made}) == 20
        task = await client.create_task(AGENT, instructions="x", overrides=SCRIPTED)
        waiting = asyncio.create_task(client.wait(task.id))
        await client.cancel_task(task.id)
        assert (await waiting).status == "cancelled"


async def test_a_stream_that_is_cancelled_is_closed(live):
    async with AsyncClient(live.url, KEY) as client:
        task = await client.create_task(AGENT, instructions="x", overrides=SCRIPTED)

        async def listen():
            async for _ in client.stream(task.id):
                pass

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0.3)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert (await client.get_task(task.id)).status == "pending"


# The whole job in one call


def ends_the_first_task(live: Live, *names: str, event: str = "finished", **facts) -> threading.Thread:
    """An agent that works as soon as there is a task, and hands over files of these names."""

    def act() -> None:
        found: list = []
        while not found:
            time.sleep(0.02)
            found = live.do(lambda host: rows(host.db, "SELECT id FROM tasks"))
        acts.give(live, found[0]["id"], *names)
        acts.end(live, found[0]["id"], event, **facts)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_the_whole_job_is_one_call(client, live, tmp_path):
    (tmp_path / "a.csv").write_text("1")
    working = ends_the_first_task(live, "sum.txt", "../sum.txt", result="Six", completion="complete")
    with (tmp_path / "a.csv").open("rb") as opened:
        done = client.run(
            "Add up.",
            inputs=[tmp_path / "a.csv", ("b.csv", b"2"), opened],
            output=tmp_path / "out",
            title="Sums",
            metadata={"case": 7},
            model="scripted",
            max_runtime_seconds=60,
        )
    working.join()
    assert (done.result, done.complete, done.task.title) == ("Six", True, "Sums")
    assert done.task.overrides.max_runtime_seconds == 60 and done.task.metadata["case"] == 7
    assert [path.name for path in done.paths] == ["sum.txt", "sum-2.txt"]
    assert [path.read_text() for path in done.paths] == ["sum.txt", "../sum.txt"]
    assert sorted(file.filename for file in client.list_files()) == sorted(
        ["a.csv", "a.csv", "b.csv", "sum.txt", "../sum.txt"]
    )


def test_a_job_that_does_not_finish_raises_with_its_task(client, live):
    working = ends_the_first_task(live, event="failed", error="It broke.")
    with pytest.raises(TaskEnded, match="It broke") as ended:
        client.run("Add up.", model="scripted")
    working.join()
    assert ended.value.task.status == "failed"


def test_a_job_that_takes_too_long_goes_on(client):
    with pytest.raises(TimedOut) as late:
        client.run("Add up.", model="scripted", timeout=0.1)
    assert client.get_task(late.value.task.id).status == "pending"


def test_a_job_that_makes_no_sense_is_refused_before_anything_is_sent(client, faults, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUse):
        client.run("Add up.", modle="scripted")
    with pytest.raises(LocalFile):
        client.run("Add up.", model="scripted", output=tmp_path / "file")
    with pytest.raises(LocalFile):
        client.run("Add up.", model="scripted", inputs=tmp_path / "missing.csv")
    assert faults.seen == []


def test_all_files_of_a_task_are_downloaded_over_nothing_that_is_there(client, live, tmp_path):
    task = dispatch(client)
    acts.give(live, task.id, "a.txt", "/etc/passwd", ".hidden")
    (tmp_path / "a.txt").write_text("mine")
    paths = client.download_all(task.id, tmp_path)
    assert [path.name for path in paths] == ["a-2.txt", "passwd", "_.hidden"]
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_a_download_of_all_that_is_cut_leaves_no_half_file(live, faults, tmp_path):
    with Client(live.url, KEY, retries=0) as client:
        task = dispatch(client)
        acts.give(live, task.id, "whole", "cut", size=MIB)
        faults.plan = [None, None, cut_after(1000)]
        with pytest.raises(NotReachable):
            client.download_all(task.id, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


# What a file may be


class OnlyOnce(io.RawIOBase):
    """As a pipe: read to its end, once."""

    def __init__(self, content: bytes):
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._rest.readinto(buffer)


@pytest.mark.parametrize(
    "made",
    [
        lambda content, path: content,
        lambda content, path: bytearray(content),
        lambda content, path: memoryview(content),
        lambda content, path: io.BytesIO(content),
        lambda content, path: path.open("rb"),
        lambda content, path: path,
        lambda content, path: str(path),
        lambda content, path: OnlyOnce(content),
    ],
    ids=["bytes", "bytearray", "memoryview", "BytesIO", "open file", "Path", "str", "pipe"],
)
def test_an_upload_takes_what_a_download_takes_and_is_repeated_whole(client, faults, tmp_path, made):
    content = bytes(range(256)) * 3000
    (tmp_path / "f").write_bytes(content)
    source = made(content, tmp_path / "f")
    faults.plan = [None, lost_before]
    file = client.upload(source, filename="f.bin")
    if hasattr(source, "close"):
        assert not source.closed
        source.close()
    back = io.BytesIO()
    client.download_file(file.id, back)
    assert back.getvalue() == content


def test_a_file_object_is_read_from_where_it_stands_and_named_as_its_file(client, tmp_path):
    (tmp_path / "f.csv").write_bytes(b"0123456789")
    with (tmp_path / "f.csv").open("rb") as opened:
        opened.seek(4)
        file = client.upload(opened)
    assert (file.filename, file.size_bytes) == ("f.csv", 6)


@pytest.mark.parametrize("source", [3, None, io.StringIO("x"), b"x", io.BytesIO(b"x")])
def test_what_cannot_be_uploaded_is_wrong_use(client, faults, source):
    with pytest.raises(WrongUse):
        client.upload(source)
    with pytest.raises(WrongUse):
        client.download_file("file_1", io.StringIO())
    assert faults.seen == []


def test_a_name_that_is_not_utf8_is_sent_with_a_sign_for_each_such_byte(client, tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff.csv"
    with open(path, "wb"):
        pass
    assert client.upload(os.fsdecode(path)).filename == "bad\ufffd.csv"


# Every error is a ClientError, and holds no secret

WRONG = {
    "field": lambda client: client.create_task(AGENT, instuctions="x"),
    "type": lambda client: client.create_task(AGENT, instructions=3),
    "nested": lambda client: client.create_task(AGENT, instructions="x", overrides={"modle": "m"}),
    "bytes": lambda client: client.create_task(AGENT, instructions="\udcff"),
    "metadata": lambda client: client.create_task(AGENT, instructions="x", metadata={"a": float("nan")}),
    "metadata bytes": lambda client: client.create_task(AGENT, instructions="x", metadata={"a": "\udcff"}),
    "kind": lambda client: client.create_task(AGENT, instructions="x", metadata={"a": object()}),
    "secret": lambda client: client.set_provider("openai", api_key="sk-secret schlüssel"),
    "file": lambda client: client.upload("/nowhere/at/all"),
    "folder": lambda client: client.upload("/"),
    "target": lambda client: client.download_file(client.upload(b"x", filename="x").id, "/nowhere/at/all"),
    "id": lambda client: client.get_task("\udcff"),
    "name": lambda client: client.create_key("\udcff"),
}


@pytest.mark.parametrize("what", WRONG)
def test_whatever_goes_wrong_is_a_client_error_without_a_secret(client, what):
    with pytest.raises(ClientError) as wrong:
        WRONG[what](client)
    assert "sk-secret" not in str(wrong.value) + repr(wrong.value) and "input_value" not in str(wrong.value)


def test_a_client_that_is_closed_says_so(live):
    client = Client(live.url, KEY)
    client.get_account()
    client.close()
    with pytest.raises(WrongUse, match="closed"):
        client.get_account()


@pytest.mark.parametrize("body", [b"data: {\n\n", b"id: x\ndata: {}\n\n", b"data: []\nevent: task.updated\n\n"])
def test_a_stream_that_is_none_of_the_apis_is_a_client_error(live, faults, body):
    async def strange(app, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": body})

    faults.plan = [strange]
    with Client(live.url, KEY, retries=0) as client, pytest.raises(ClientError):
        list(client.stream("tsk_1"))


def test_a_redirect_names_the_other_address(live, faults):
    faults.plan = [says(301, location="https://elsewhere.example/")]
    with Client(live.url, KEY) as client, pytest.raises(Refused) as refused:
        client.get_account()
    assert refused.value.status == 301


@pytest.mark.parametrize("name", ["a..b:1", f"{'a' * 64}.example", "[::1", ":80"])
def test_an_address_without_a_valid_host_name_is_wrong_use(name):
    with pytest.raises(WrongUse):
        Client(f"http://{name}", KEY)
