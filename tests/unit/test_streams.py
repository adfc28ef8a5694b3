"""What streams of one task share: its events are read and encoded once."""

from agentcontainer_local.api import events as api
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.streams import MAX_BYTES
from agentcontainer_local.store import events, tasks
from agentcontainer_local.store.events import NOTICE
from tests.unit.test_lifecycle import dispatched

STREAMS = 20


async def test_the_events_of_a_task_are_read_once_for_all_its_streams(host: Host):
    id = dispatched(host)["id"]
    streams = [api._stream(host, id, 0) for _ in range(STREAMS)]
    asked: list[str] = []
    host.db.conn.set_trace_callback(asked.append)
    (first,) = {await anext(stream) for stream in streams}
    assert b'"event":"created"' in first
    for word in ("one", "two"):
        events.append(host.db, id, NOTICE, {"kind": "test", "message": word}, host.now())
        (heard,) = {await anext(stream) for stream in streams}
        assert word.encode() in heard and first not in heard
    read = [sql for sql in asked if sql.startswith("SELECT * FROM task_events")]
    assert len(read) == 3
    host.db.conn.set_trace_callback(None)
    tasks.apply(host.db, id, "cancelled", host.now())
    for stream in streams:
        said = b"".join([chunk async for chunk in stream])
        assert said.count(b'"event":"cancelled"') == 1


async def test_a_stream_that_begins_further_on_hears_the_rest_only(host: Host):
    id = dispatched(host)["id"]
    whole = api._stream(host, id, 0)
    numbers = [int(line[4:]) for line in (await anext(whole)).split(b"\n") if line.startswith(b"id: ")]
    rest = await anext(api._stream(host, id, numbers[0]))
    assert [int(line[4:]) for line in rest.split(b"\n") if line.startswith(b"id: ")] == numbers[1:]
    await whole.aclose()


async def test_what_is_read_for_streams_has_a_bound_and_nothing_is_lost_by_it(host: Host):
    text = "x" * 60_000
    ids = [dispatched(host)["id"] for _ in range(2 * MAX_BYTES // len(text))]
    for id in ids:
        events.append(host.db, id, NOTICE, {"kind": "test", "message": text}, host.now())
    for id in ids:
        stream = api._stream(host, id, 0)
        assert text.encode() in await anext(stream)
        await stream.aclose()
        kept = sum(len(batch.text) for one in host.streams._moments.values() for batch in one.batches.values())
        assert kept <= MAX_BYTES
