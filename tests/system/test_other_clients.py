"""A real server before other programs than ours: offers of old protocols, proxies, bodies that never end."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.system.conftest import Server, serving, wait_until

OFFER = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAA"}
ORIGIN = "https://app.example.org"


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> Iterator[Server]:
    """One that starts no task."""
    data = tmp_path_factory.mktemp("idle") / "data"
    with serving(data, AGENTCONTAINER_MAX_RUNNING="0", AGENTCONTAINER_CORS_ORIGIN=ORIGIN) as server:
        yield server


@pytest.fixture(scope="module")
def behind_a_proxy(tmp_path_factory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("proxied") / "data"
    with serving(data, AGENTCONTAINER_MAX_RUNNING="0", AGENTCONTAINER_TRUSTED_PROXIES="127.0.0.0/8, ::1") as server:
        yield server


def test_a_client_that_offers_http2_uploads_its_bytes(idle: Server):
    prepared = idle.client.post("/api/v1/uploads/prepare", json={"filename": "a", "sizeBytes": 6}, headers=OFFER).json()
    sent = idle.client.put(prepared["uploadUrl"], content=b"1\n2\n3\n", headers={**OFFER, "content-type": "text/csv"})
    assert sent.status_code == 200
    body = {"uploadId": prepared["uploadId"]}
    file = idle.client.post("/api/v1/uploads/complete", json=body, headers=OFFER).json()
    assert file["sizeBytes"] == 6
    assert idle.client.get(f"/api/v1/files/{file['id']}/content", headers=OFFER).content == b"1\n2\n3\n"


def wrong_keys(server: Server, count: int) -> list[int]:
    """What so many requests with a wrong key are answered, each of which says that it comes from somewhere else."""
    return [
        server.client.get(
            "/api/v1/account",
            headers={"authorization": f"Bearer ac_live_{n}", "x-forwarded-for": f"10.{n // 250}.{n % 250}.9"},
        ).status_code
        for n in range(count)
    ]


def test_nobody_gets_around_the_limit_of_wrong_keys_by_a_header(idle: Server):
    assert wrong_keys(idle, 300).count(429) > 100


def test_a_trusted_proxy_says_who_asks(behind_a_proxy: Server):
    assert set(wrong_keys(behind_a_proxy, 300)) == {401}


@pytest.mark.parametrize(
    "header", [{"x-forwarded-proto": "https"}, {"X-Forwarded-Proto": "https", "x-forwarded-for": "9.9.9.9"}]
)
def test_only_a_trusted_proxy_changes_the_urls_in_answers(idle: Server, behind_a_proxy: Server, header):
    for server, scheme in ((idle, "http://"), (behind_a_proxy, "https://")):
        prepared = server.client.post("/api/v1/uploads/prepare", json={"filename": "a"}, headers=header).json()
        assert prepared["uploadUrl"].startswith(scheme)


def test_a_page_of_a_named_origin_may_read_the_stream(idle: Server):
    task = idle.dispatch("x")
    idle.post(f"/tasks/{task['id']}/cancel", expect=200)
    path = f"/api/v1/tasks/{task['id']}/events?stream=true&apiKey={idle.key}"
    answer = httpx.get(idle.url + path, headers={"origin": ORIGIN}, trust_env=False)
    assert answer.headers["access-control-allow-origin"] == ORIGIN and "event: task.updated" in answer.text


def resident_mb(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def test_bodies_that_are_half_there_cost_little_memory_and_nobody_waits_for_them(idle: Server):
    """60 of them with 5 MB each: 300 MB, had they been kept."""
    before = resident_mb(idle)
    head = (
        f"POST /api/v1/agents HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {idle.key}\r\n"
        "content-type: application/json\r\ncontent-length: 9000000\r\n\r\n"
    ).encode()
    address = httpx.URL(idle.url)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            sock = stack.enter_context(socket.create_connection((address.host, address.port)))
            sock.sendall(head + b" " * 5_000_000)
        assert idle.get("/account")["id"]
        assert resident_mb(idle) - before < 100
    wait_until(lambda: idle.get("/account") and resident_mb(idle) - before < 100, 10)
