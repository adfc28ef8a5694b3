"""The middleware against hostile browsers, strangers on the network and loops of scripts."""

import asyncio
import logging
import secrets

import httpx
import pytest

from agentcontainer_local.api import cors, routes
from agentcontainer_local.http import middleware, routing
from agentcontainer_local.settings import Settings, from_environment
from tests import fake_provider
from tests.conftest import KEY

HEADERS = {name.decode() for name, _ in middleware.HEADERS}


def settings_of(**given) -> Settings:
    return Settings(data="/nowhere", cache="/nowhere", **given)


def asking(app_host, /, key: str | None = KEY, clock=None, **given) -> httpx.AsyncClient:
    app = middleware.protected(routing.app(app_host, routes.ALL), settings_of(**given), *([clock] if clock else []))
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api/v1", headers=headers)


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "localhost:3000",
        "LOCALHOST.",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1:9",
        "[::1]",
        "[::1]:3000",
        "192.168.1.9:3000",
        "box.lan",
        "box.lan:3000",
        "agents.example.org",
        "other.example",
    ],
)
async def test_it_answers_under_its_own_names_and_any_address(host, name):
    given = {"host": "box.lan", "public_url": "https://agents.example.org/x", "host_names": "Other.example, b.example"}
    async with asking(host, **given) as client:
        assert (await client.get("/account", headers={"host": name})).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:3000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "notlocalhost",
        "agents.example.org.evil",
        "",
        "localhost:3000:80",
        "0x7f.1",
        "[::1].evil.example",
    ],
)
async def test_a_strangers_name_that_points_here_is_not_answered(host, name):
    async with asking(host, public_url="https://agents.example.org") as client:
        answer = await client.get("/account", headers={"host": name})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "misdirected_request"


async def test_two_hosts_are_none(host):
    async with asking(host) as client:
        answer = await client.get("/account", headers=[("host", "localhost"), ("host", "localhost")])
    assert answer.status_code == 421


APP, OTHER = "https://app.example.org", "http://localhost:5173"


def sharing(app_host, key: str | None = KEY, **given) -> httpx.AsyncClient:
    settings = settings_of(cors_origin=(APP, OTHER), **given)
    app = cors.opened(middleware.protected(routing.app(app_host, routes.ALL), settings), settings.cors_origin)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api/v1", headers=headers)


@pytest.mark.parametrize("origin", [APP, OTHER])
@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/account", "authorization"),
        ("POST", "/agents", "authorization,content-type,idempotency-key"),
        ("PATCH", "/tasks/x", "authorization,content-type"),
        ("DELETE", "/files/x", "authorization"),
        ("PUT", "/uploads/x/content", "content-type"),
        ("GET", "/tasks/x/events", "last-event-id"),
        ("GET", "/tasks/x/events", "authorization,cache-control,traceparent,x-requested-with"),
    ],
)
async def test_a_page_of_a_named_origin_may_ask(host, origin, method, path, headers):
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}
    async with sharing(host, None) as client:
        answer = await client.options(path, headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert method in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert set(headers.split(",")) <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(("path", "status"), [("/account", 200), ("/nothing", 404), ("/tasks/tsk_no", 404)])
async def test_a_page_of_a_named_origin_may_read_answers_and_errors(host, path, status):
    async with sharing(host) as client:
        answer = await client.get(path, headers={"origin": APP})
        assert answer.status_code == status and answer.headers["access-control-allow-origin"] == APP
        assert "origin" in answer.headers["vary"].lower()
        assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
    async with sharing(host, "ac_live_wrong") as client:
        assert (await client.get("/account", headers={"origin": APP})).headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://app.example.org.evil.example", "http://app.example.org", APP + ":444"],
)
async def test_a_page_of_an_origin_that_is_not_named_may_still_not(host, origin):
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "x"}
    async with sharing(host) as client:
        for method in ("OPTIONS", "GET"):
            answer = await client.request(method, "/account", headers=asked)
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("text", ["*", "https://a.example/", "a.example", "https://A.example", "https://a.example/x"])
def test_what_is_no_origin_is_refused_at_the_start(text):
    with pytest.raises(ValueError, match="cors_origin"):
        settings_of(cors_origin=text)


def test_origins_are_flags_or_one_variable():
    variables = {"AGENTCONTAINER_CORS_ORIGIN": f"{APP}, {OTHER}"}
    assert from_environment(variables).cors_origin == (APP, OTHER)
    assert from_environment(variables, cors_origin=[]).cors_origin == (APP, OTHER)
    assert from_environment(variables, cors_origin=[APP]).cors_origin == (APP,)


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/99", "*"])
def test_what_is_no_network_is_refused_at_the_start(text):
    with pytest.raises(ValueError, match="trusted_proxies"):
        settings_of(trusted_proxies=text)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
async def test_no_page_of_another_origin_may_read_an_answer(host, origin):
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "x"}
    async with asking(host) as client:
        for method, path in [("OPTIONS", "/account"), ("GET", "/account"), ("GET", "/nothing"), ("POST", "/agents")]:
            answer = await client.request(method, path, headers=asked)
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_tells_browsers_that_it_is_no_page(host, upload):
    file_id = await upload(b"<script>alert(1)</script>", "page.html")
    async with asking(host) as client:
        for path in ("/account", "/nothing", "/openapi.json", f"/files/{file_id}/content"):
            answer = await client.get(path)
            assert set(answer.headers) >= HEADERS
            assert "html" not in answer.headers["content-type"]
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"


async def test_the_key_is_taken_from_a_query_only_by_the_stream(host):
    async with asking(host, key=None) as client:
        for path in ("/account", "/tasks", "/agents", "/files", "/keys", "/account/budget"):
            assert (await client.get(path, params={"apiKey": KEY})).status_code == 401
        assert (await client.get("/tasks/tsk_none/events", params={"apiKey": KEY})).status_code == 404


class Ticks:
    at = 0.0

    def __call__(self) -> float:
        return self.at


async def test_a_key_has_so_many_requests_a_second_and_no_other_key_suffers(host, stranger):
    ticks = Ticks()
    async with asking(host, clock=ticks, max_requests_per_second=10) as client:
        statuses = [(await client.get("/account")).status_code for _ in range(21)]
        assert statuses == [200] * 20 + [429]
        refused = await client.get("/account")
        assert (refused.headers["retry-after"], refused.json()["error"]["code"]) == ("1", "too_many_requests")
        other = await client.get("/account", headers={"authorization": stranger.headers["authorization"]})
        assert other.status_code == 200
        ticks.at += 0.5
        assert [(await client.get("/account")).status_code for _ in range(6)] == [200] * 5 + [429]


async def test_who_tries_keys_is_soon_told_nothing_but_the_right_one_is_always_answered(host):
    ticks = Ticks()
    async with asking(host, key=None, clock=ticks) as client:

        async def tried(key: str) -> int:
            return (await client.get("/account", headers={"authorization": f"Bearer {key}"})).status_code

        tries = [await tried(secrets.token_urlsafe(24)) for _ in range(60)]
        assert tries == [401] * middleware.FAILED_AT_ONCE + [429] * 10
        assert await tried(KEY) == 200
        ticks.at += 1
        assert [await tried("x") for _ in range(6)] == [401] * 5 + [429]


def test_what_is_remembered_of_callers_is_bounded(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_REMEMBERED_CALLERS", 5)
    rate = middleware.Rate(1, 2, Ticks())
    assert [rate.wait(caller) for caller in (*range(9), 8, 8)] == [0] * 10 + [1]
    assert len(rate._left) == 5


async def test_no_key_is_ever_in_the_log(host, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "httpx")  # so that something is there to be looked through
    secret = "ac_live_" + secrets.token_urlsafe(24)
    async with asking(host) as client:
        await client.get("/account", headers={"authorization": f"Bearer {secret}"})
        await client.get("/tasks/x/events", params={"apiKey": secret, "stream": "true"})
        await client.put("/providers/openai", json={"apiKey": "sk-" + secret})
        await client.put("/providers/openai", json={"apiKey": "sk " + secret})
        body = {"instructions": 1, "overrides": {"providerApiKey": secret}}
        await client.post("/agents/agt_standard_data/tasks", json=body)
        assert caplog.records
    own = [record for record in caplog.records if not record.name.startswith("httpx")]  # the client's own
    assert not any(secret in record.getMessage() or KEY in record.getMessage() for record in own)


async def _raw(port: int, head: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_head_without_end_is_cut_off(host):
    app = middleware.protected(routing.app(host, routes.ALL), settings_of())
    for head in (
        b"GET /api/v1/account HTTP/1.1\r\nx: " + b"x" * 200_000,
        b"GET /" + b"x" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30_000,
    ):
        with _served(app) as port:
            answer = await _raw(port, head)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


def _served(app):
    return fake_provider.in_thread(app, lifespan="off", http=middleware.Connection)


async def test_a_large_body_is_no_head_and_a_larger_one_than_allowed_is_refused(host):
    with _served(middleware.protected(routing.app(host, routes.ALL), settings_of())) as port:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"http://localhost:{port}/nothing", content=b"x" * 200_000)
            assert answer.status_code == 404
    async with asking(host) as client:
        answer = await client.post(
            "/agents", content=b" " * (host.settings.max_body_bytes + 1), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
