"""The proxy of a run, spoken to over its socket byte by byte; only what lies beyond the machine is made up."""

import asyncio
import contextlib
import json
import random
import tempfile
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from agentcontainer_local import egress, hostnames
from agentcontainer_local.egress import denials, proxy, resolver, tunnel
from agentcontainer_local.engine.host import Host
from agentcontainer_local.sandbox.backend import Guest
from agentcontainer_local.sandbox.podman import sockets
from agentcontainer_local.store import db, tasks

FAR = "127.0.0.9"  # stands for a public address
NAMES = {
    "good.example.org": [FAR],
    "deep.below.example.org": [FAR],
    "mixed.example.org": ["10.0.0.1", FAR],
    "private.example.org": ["192.168.0.1", "::1"],
    "metadata.example.org": ["169.254.169.254"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "own.example.org": ["127.0.0.1"],
    "elsewhere.example": [FAR],
}


class Far:
    """A server out there: keeps what it was sent, and answers as it is told."""

    def __init__(self):
        self.heard: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nset-cookie: a=b\r\nkeep-alive: x\r\n\r\nhello"
        self.echo = False
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.heard.append(data)
                writer.write(data if self.echo else self.answer)
                await writer.drain()
        writer.close()


class Way:
    """The proxy of a task that may reach *.example.org, on the far server's port."""

    def __init__(self, host: Host, task: dict, folder: Path, port: int, far: Far):
        self.host, self.task, self.folder, self.port, self.far = host, task, folder, port, far
        self.resolved: list[str] = []

    async def say(self, text: str | bytes, then: bytes | None = None) -> bytes:
        """Sends it on a new connection; everything that comes back."""
        reader, writer = await self.connect()
        writer.write(text.encode("latin-1") if isinstance(text, str) else text)
        if then is not None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(then)
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def connect(self):
        return await asyncio.open_unix_connection(self.folder / sockets.EGRESS)

    def denied(self) -> list[dict]:
        rows = db.rows(self.host.db, "SELECT data FROM task_events WHERE type = 'notice' ORDER BY number")
        return [data for row in rows if (data := json.loads(row["data"]))["kind"] == denials.KIND]


async def unanswered(scope, receive, send) -> None:
    """The door, at which nobody knocks here."""


@pytest.fixture
async def way(host: Host, client) -> AsyncIterator[Way]:
    far = Far()
    server = await asyncio.start_server(lambda *ends: far.serve(*ends), FAR, 0)
    port = server.sockets[0].getsockname()[1]
    body = {"instructions": "Go", "overrides": {"model": "scripted", "allowedHosts": [f"*.example.org:{port}"]}}
    answer = await client.post("/agents/agt_standard_coding/tasks", json=body)
    assert answer.status_code == 201, answer.text

    def resolve(name: str):
        way.resolved.append(name)
        if name not in NAMES:
            raise OSError("unknown")
        return [ip_address(address) for address in NAMES[name]]

    def reachable(address) -> bool:
        return str(address) == FAR or resolver.reachable(address)

    with tempfile.TemporaryDirectory() as folder:  # a short path
        way = Way(host, tasks.get(host.db, answer.json()["id"]), Path(folder), port, far)
        async with (
            egress.opened(host, way.task, egress.Outside(resolve, reachable)) as handler,
            sockets.served(Guest(unanswered, handler), way.folder),
        ):
            yield way
    server.close()
    await server.wait_closed()


def get(way: Way, host: str, path: str = "/a?b=c", more: str = "") -> str:
    return f"GET http://{host}:{way.port}{path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n"


def connect(way: Way, host: str) -> str:
    return f"CONNECT {host}:{way.port} HTTP/1.1\r\nhost: {host}\r\n\r\n"


async def test_a_tunnel_carries_bytes_both_ways_and_ends_with_its_ends(way: Way):
    way.far.echo = True
    answer = await way.say(connect(way, "good.example.org"), then=b"\x16\x03anything" * 1000)
    assert answer == b"\x16\x03anything" * 1000
    assert way.denied() == []


async def test_bytes_sent_at_once_with_the_connect_are_not_lost(way: Way):
    way.far.echo = True
    answer = await way.say(connect(way, "good.example.org").encode() + b"early", then=b" and late")
    assert answer == b"early and late"


async def test_a_plain_request_is_passed_on_as_a_request_to_the_host_that_was_allowed(way: Way):
    hidden = "proxy-authorization: secret\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nx-kept: 2\r\n"
    text = f"GET http://good.example.org:{way.port}/a?b=c HTTP/1.1\r\nhost: inner.elsewhere.example\r\n{hidden}\r\n"
    answer = await way.say(text)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"hello") and b"set-cookie: a=b" in answer
    assert b"keep-alive" not in answer
    head = b"".join(way.far.heard).lower()
    assert head.startswith(f"get /a?b=c http/1.1\r\nhost: good.example.org:{way.port}\r\n".encode())
    assert b"x-kept: 2" in head and b"connection: close" in head
    for gone in (b"elsewhere", b"secret", b"x-hop"):
        assert gone not in head


async def test_a_second_request_on_a_connection_goes_nowhere(way: Way):
    both = get(way, "good.example.org") + get(way, "elsewhere.example")
    answer = await way.say(both)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"elsewhere" not in b"".join(way.far.heard)


async def test_a_body_is_passed_on_whole_whatever_its_framing(way: Way):
    head = f"POST http://good.example.org:{way.port}/ HTTP/1.1\r\nhost: a\r\n"
    await way.say(f"{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert b"abc" in b"".join(way.far.heard)
    both = f"{head}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    way.far.heard.clear()
    await way.say(both + "GET /smuggled HTTP/1.1\r\n\r\n")
    assert b"smuggled" not in b"".join(way.far.heard)


@pytest.mark.parametrize(
    "name",
    [
        "elsewhere.example",
        "example.org",
        "evil-example.org",
        "good.example.org.elsewhere.example",
        "xexample.org",
        "good.example.org%00.elsewhere.example",
        "elsewhere.example%2f.example.org",
        "good.example.org@elsewhere.example",
        "user:pass@good.example.org",
        "127.0.0.9",
        "2130706441",
        "0x7f000009",
        "0177.0.0.9",
        "127.9",
        "[::ffff:127.0.0.9]",
        "[::1]",
        "localhost",
        "good.example.org\\@elsewhere.example",
        "*.example.org",
        "..example.org",
        "",
        "own.example.org",
        "private.example.org",
        "metadata.example.org",
        "mapped.example.org",
    ],
)
async def test_a_host_that_is_not_allowed_is_refused_and_recorded(way: Way, name: str):
    for text in (connect(way, name), get(way, name)):
        answer = await way.say(text)
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")), answer
    first, second = way.denied()
    assert name in first["host"] and name in second["host"]
    assert way.far.connections == 0
    assert b"192.168" not in answer and b"169.254" not in answer, "an inner address is not for the agent"


@pytest.mark.parametrize(
    "text",
    [
        "CONNECT good.example.org\0.elsewhere.example:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT b\xfccher.example.org:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT good.example.org HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT good.example.org:0443x HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: good.example.org\r\n\r\n",
        "GET https://good.example.org/ HTTP/1.1\r\nhost: good.example.org\r\n\r\n",
        "GET ftp://good.example.org/ HTTP/1.1\r\nhost: good.example.org\r\n\r\n",
        "GET http://good.example.org/ HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "\x05\x01\x00\r\n\r\n",
    ],
)
async def test_what_no_proxy_understands_is_refused_and_recorded(way: Way, text: str):
    assert (await way.say(text)).startswith(b"HTTP/1.1 400 ")
    assert len(way.denied()) == 1
    assert way.far.connections == 0


async def test_a_host_is_the_same_in_upper_case_and_with_a_dot_at_its_end(way: Way):
    for host in ("GOOD.Example.ORG", "good.example.org.", "deep.below.example.org"):
        assert (await way.say(get(way, host))).endswith(b"hello")
    assert way.denied() == []


async def test_another_port_is_refused_and_recorded_with_its_number(way: Way):
    answer = await way.say("CONNECT good.example.org:22 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert [(seen["host"], seen["port"]) for seen in way.denied()] == [("good.example.org", 22)]


async def test_a_name_is_resolved_once_and_only_a_checked_address_is_connected_to(way: Way):
    assert (await way.say(get(way, "mixed.example.org"))).endswith(b"hello")
    assert way.resolved == ["mixed.example.org"]
    assert (await way.say(get(way, "unknown.example.org"))).startswith(b"HTTP/1.1 502 ")
    assert way.denied() == []


async def test_a_name_that_is_not_allowed_is_not_even_resolved(way: Way):
    await way.say(get(way, "c2VjcmV0.elsewhere.example"))
    assert way.resolved == []


async def test_a_redirect_is_for_the_client_to_follow(way: Way):
    way.far.answer = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
    assert b"location: http://169.254.169.254/" in await way.say(get(way, "good.example.org"))
    assert (await way.say("GET http://169.254.169.254/ HTTP/1.1\r\nhost: a\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_the_number_of_recorded_denials_is_bounded(way: Way, monkeypatch):
    monkeypatch.setattr(denials, "MOST", 5)
    for _ in range(9):
        await way.say(get(way, "elsewhere.example"))
    assert len(way.denied()) == 6
    assert "not recorded" in way.denied()[-1]["message"]


async def test_a_run_has_so_many_connections_and_no_more(way: Way, monkeypatch):
    monkeypatch.setattr(proxy, "MAX_CONNECTIONS", 3)
    silent = [await way.connect() for _ in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionError):
        await way.say(get(way, "good.example.org"))
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert (await way.say(get(way, "good.example.org"))).endswith(b"hello")


async def test_a_client_that_dawdles_and_a_tunnel_that_is_silent_are_cut(way: Way, monkeypatch):
    monkeypatch.setattr(proxy, "HEAD_SECONDS", 0.1)
    assert await way.say(b"CONNECT good.exam") == b""
    monkeypatch.setattr(tunnel, "IDLE_SECONDS", 0.2)
    reader, writer = await way.connect()
    writer.write(connect(way, "good.example.org").encode())
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_a_head_that_is_too_long_is_refused(way: Way):
    answer = await way.say(get(way, "good.example.org", more=f"x: {'y' * 200_000}\r\n"))
    assert answer.startswith(b"HTTP/1.1 4")
    assert way.far.connections == 0


async def test_without_allowed_hosts_there_is_no_socket(way: Way):
    with tempfile.TemporaryDirectory() as folder:
        async with (
            egress.opened(way.host, {**way.task, "allowed_hosts": "[]"}, egress.INTERNET) as handler,
            sockets.served(Guest(unanswered, handler), Path(folder)),
        ):
            assert [path.name for path in Path(folder).iterdir()] == [sockets.HOST]


def test_outside_of_tests_neither_this_machine_nor_a_private_network_is_reachable():
    assert resolver.is_own(ip_address("127.0.0.1")) and resolver.is_own(ip_address("127.1.2.3"))
    assert not resolver.is_own(ip_address("1.1.1.1"))
    assert egress.INTERNET.reachable is resolver.reachable
    for inner in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"):
        assert not resolver.reachable(ip_address(inner))
    assert resolver.reachable(ip_address("1.1.1.1")) == hostnames.is_public(ip_address("1.1.1.1"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"allowedHosts": ["example.org"], "internetAccess": True},
        {"allowedHosts": ["127.0.0.1"]},
        {"allowedHosts": ["*"]},
        {"allowedHosts": ["example.org\0"]},
        {"allowedHosts": ["a.org"] * 101},
    ],
)
async def test_hosts_that_make_no_sense_are_refused_at_dispatch(client, overrides: dict):
    body = {"instructions": "Go", "overrides": {"model": "scripted", **overrides}}
    answer = await client.post("/agents/agt_standard_coding/tasks", json=body)
    assert answer.status_code == 422
    assert "allowedHosts" in answer.text


async def test_an_agents_hosts_are_its_tasks_unless_they_say_otherwise(client, host: Host):
    defaults = {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60}
    body = {"name": "a", "basePrompt": "b", "defaults": {**defaults, "allowedHosts": ["*.Example.org"]}}
    agent = (await client.post("/agents", json=body)).json()
    assert agent["currentVersion"]["defaults"]["allowedHosts"] == ["*.Example.org"]

    async def dispatched(**overrides) -> tuple[int, str]:
        answer = await client.post(f"/agents/{agent['id']}/tasks", json={"instructions": "x", "overrides": overrides})
        return answer.status_code, tasks.get(host.db, answer.json()["id"])["allowed_hosts"] if answer.is_success else ""

    assert await dispatched() == (201, '["*.Example.org"]')
    assert await dispatched(allowedHosts=["b.org:1"]) == (201, '["b.org:1"]')
    assert await dispatched(allowedHosts=[], internetAccess=True) == (201, "[]")
    assert (await dispatched(internetAccess=True))[0] == 422
    patched = await client.patch(f"/agents/{agent['id']}", json={"defaults": {"internetAccess": True}})
    assert patched.status_code == 422


async def test_ends_that_go_at_any_moment_are_nothing_to_log(way: Way, caplog):
    """Where one writes to a connection that is gone, uvloop raises what is no OSError."""
    chance = random.Random(5)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            for _ in range(chance.randrange(50)):
                writer.write(b"x" * chance.choice((10, 20_000)))
                await (writer.drain() if chance.random() < 0.6 else asyncio.sleep(0))
            chance.choice((writer.transport.abort, writer.close, writer.write_eof))()
        await asyncio.sleep(0.01)
        writer.transport.abort()

    async def visit() -> None:
        reader, writer = await way.connect()
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.write(connect(way, "good.example.org").encode() + b"early" * chance.choice((0, 1000)))
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(chance.randrange(20)):
                if chance.random() < 0.5 and not writer.is_closing():
                    writer.write(b"more" * chance.choice((2, 12_000)))
                    await asyncio.sleep(0)
                else:
                    await asyncio.wait_for(reader.read(chance.choice((10, 65536))), 0.01)
        chance.choice((writer.transport.abort, writer.close))()
        await asyncio.sleep(0.01)
        writer.transport.abort()

    way.far.serve = serve
    for _ in range(60):
        await asyncio.gather(*(visit() for _ in range(20)))
    assert way.far.connections == 0 and [record.getMessage() for record in caplog.records] == []
