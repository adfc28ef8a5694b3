"""Calls pass to the provider and back: bytes, status, headers, the key, and what goes wrong."""

import asyncio
import gzip
import itertools
import json
import socket
import threading
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.store import tasks
from tests.fake_provider import Answers, Cuts, Drips, Fails, Raw, Silent, bash
from tests.unit.gateway.conftest import KEY, PATHS, for_provider, request, served

ANSWER = Answers("hello from far away, in several pieces", input_tokens=900, output_tokens=50, cache_read_tokens=300)


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_call_passes_in_every_format_with_its_figures(door, fake, kind, stream):
    model = for_provider(door, fake, kind.split()[0])
    fake.plan(ANSWER)
    answer = door.post(PATHS[kind], request(model, stream, kind))
    assert answer.status_code == 200
    assert ("text/event-stream" if stream else "application/json") in answer.headers["content-type"]
    [usage] = door.usages
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (900, 50, 300)
    assert usage.complete
    assert usage.status == 200
    assert (usage.provider, usage.model) == (kind.split()[0], model)
    assert (usage.cost_microusd is None) == (kind.split()[0] == "openrouter")  # a model that no table has


@pytest.mark.parametrize("kind", PATHS)
def test_the_providers_own_credential_takes_the_place_of_the_guests(door, fake, kind):
    provider = kind.split()[0]
    model = for_provider(door, fake, provider)
    mine = {"authorization": "Bearer mine", "x-api-key": "mine", "cookie": "a=b", "proxy-authorization": "mine"}
    assert door.post(PATHS[kind], request(model, True, kind), headers=mine).status_code == 200
    headers = dict(fake.seen[0].headers)
    assert "mine" not in str(headers)
    name, value = ("x-api-key", KEY) if provider == "anthropic" else ("authorization", f"Bearer {KEY}")
    assert [pair for pair in fake.seen[0].headers if KEY in pair[1]] == [(name, value)]


def test_the_body_is_written_anew_and_the_query_and_the_version_headers_reach_the_provider_unchanged(door, fake):
    body = b' {"model": "claude-opus-4-5",\n "tools":[{"input_schema":{"z":1.50, "\\u00e9":"\xc3\xa9"}}]}\n'
    beta = "inline-tools-2026-09-15,interleaved-thinking-2025-05-14"
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": beta, "x-stainless-retry-count": "1"}
    door.post("/anthropic/v1/messages?beta=true", body, headers=headers)
    [seen] = fake.seen
    assert seen.body == '{"model":"claude-opus-4-5","tools":[{"input_schema":{"z":1.5,"é":"é"}}]}'.encode()
    assert (seen.path, seen.query) == ("/v1/messages", "beta=true")
    assert headers.items() <= dict(seen.headers).items()
    assert seen.header("content-length") == str(len(seen.body))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai responses", "/v1/responses"),
        ("openai completions", "/v1/chat/completions"),
        ("openrouter", "/api/v1/chat/completions"),
        ("openrouter messages", "/api/v1/messages"),
    ],
)
def test_paths_are_those_that_the_vendors_sdk_would_call(door, fake, kind, path):
    door.post(PATHS[kind], request(for_provider(door, fake, kind.split()[0]), True, kind))
    assert fake.seen[0].path == path


def test_a_large_body_passes(door, fake):
    body = {**request("claude-opus-4-5"), "messages": [{"role": "user", "content": "x" * 5_000_000}]}
    assert door.post("/anthropic/v1/messages", body).status_code == 200
    assert fake.seen[0].json == body


def test_a_body_that_is_too_large_is_refused(door, fake, monkeypatch):
    monkeypatch.setattr("agentcontainer_local.gateway.admission.MAX_BODY_BYTES", 1000)
    assert door.post("/anthropic/v1/messages", b" " * 1001).status_code == 413
    assert fake.seen == []


def test_counting_tokens_passes_and_is_no_call(door, fake):
    answer = door.post("/anthropic/v1/messages/count_tokens", request("claude-opus-4-5", False))
    assert answer.json() == {"input_tokens": 42}
    assert door.usages == []


def test_bytes_pass_as_they_come(door, fake):
    """The first event is here long before the last one leaves."""
    fake.plan(Drips(Answers("x" * 400), bytes_at_once=200, pause_seconds=0.05))
    with httpx.stream(
        "POST", door.url("/anthropic/v1/messages"), json=request("claude-opus-4-5"), trust_env=False
    ) as answer:
        pieces = [(time.monotonic(), piece) for piece in answer.iter_raw()]
    assert len(pieces) > 5
    assert pieces[-1][0] - pieces[0][0] > 0.2


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_dripped_stream_is_the_same_stream(door, fake, size):
    fake.plan(ANSWER, Drips(ANSWER, bytes_at_once=size))
    whole = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    dripped = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert dripped.text.replace("msg_2", "msg_1") == whole.text
    assert door.usages[0] == door.usages[1]


def test_a_refusal_is_recorded_in_the_providers_words_and_the_pause_that_it_asks_for_is_kept(fake):
    fake.plan(Fails(429, "slow down", (("retry-after", "0.6"), ("set-cookie", "a=b"), ("openai-organization", "acme"))))
    with served(base_url=fake.base_url("anthropic")) as door:
        answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
        assert answer.status_code == 429
        assert {"set-cookie", "openai-organization"}.isdisjoint(answer.headers)
        [usage] = door.usages
        assert (usage.status, usage.complete, usage.output_tokens, usage.counts) == (429, False, 0, "nothing")
        assert "slow down" in usage.error
        refused_at = time.monotonic()
        assert door.post("/anthropic/v1/messages", request("claude-opus-4-5")).status_code == 200
        assert time.monotonic() - refused_at >= 0.55


def test_an_overloaded_provider_passes_as_such(door, fake):
    fake.plan(Fails(529, "overloaded"))
    assert door.post("/anthropic/v1/messages", request("claude-opus-4-5")).status_code == 529


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_the_key_never_comes_back_in_an_error(door, fake, status):
    fake.plan(Fails(status, f"overloaded: incorrect API key provided: {KEY}"))
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert answer.status_code == status
    assert KEY not in answer.text + door.usages[0].error + door.usages[0].detail
    assert "incorrect API key provided: ***" in door.usages[0].error
    assert ("overloaded" in answer.text) == (status == 500)  # at this word Pi tries again


def test_a_redirect_is_not_followed(door, fake):
    fake.plan(Fails(307, headers=(("location", "http://169.254.169.254/"),)))
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert answer.status_code == 424
    assert "location" not in answer.headers
    assert len(fake.seen) == 1
    assert (door.usages[0].status, door.usages[0].counts) == (307, "nothing")


@pytest.mark.parametrize("kind", PATHS)
def test_a_cut_stream_is_cut_for_the_guest_and_recorded_as_incomplete(door, fake, kind):
    fake.plan(Cuts(ANSWER))
    with pytest.raises(httpx.RemoteProtocolError):
        door.post(PATHS[kind], request(for_provider(door, fake, kind.split()[0]), True, kind))
    [usage] = door.usages
    assert not usage.complete
    assert usage.status == 200
    assert usage.estimated
    assert (usage.input_tokens == 900) == ("messages" in PATHS[kind])  # only Anthropic says it at the start
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def test_a_stream_without_its_last_event_is_incomplete_even_when_it_ends_well(door, fake):
    fake.plan(Raw((b'data: {"type":"message_start","message":{"usage":{"input_tokens":5}}}\n\n',)))
    assert door.post("/anthropic/v1/messages", request("claude-opus-4-5")).status_code == 200
    assert (door.usages[0].complete, door.usages[0].input_tokens) == (False, 5)


def test_a_socket_that_closes_without_a_word_is_a_502(door):
    with socket.create_server(("127.0.0.1", 0)) as closing:
        door.allow(base_url=f"http://127.0.0.1:{closing.getsockname()[1]}")
        thread = threading.Thread(target=lambda: closing.accept()[0].close())
        thread.start()
        answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
        thread.join()
    assert answer.status_code == 502
    assert door.usages[0].status == 502


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "not a url", "ftp://127.0.0.1", ""]
)
def test_a_provider_that_was_never_reached_is_not_tried_again(door, base_url):
    door.allow(base_url=base_url)
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert answer.status_code == 424
    assert answer.json()["type"] == "error"
    assert (door.usages[0].status, door.usages[0].complete, door.usages[0].counts) == (502, False, "nothing")
    assert f"{base_url}/v1/messages" in door.usages[0].error


def test_a_silent_provider_is_a_504(fake):
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        fake.plan(Silent())
        answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
        assert answer.status_code == 504
        assert (door.usages[0].status, door.usages[0].counts) == (504, "nothing")
        assert "did not answer within 0.3 s" in door.usages[0].error


def test_a_provider_that_falls_silent_within_its_answer_is_cut(fake):
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        fake.plan(Silent(answer=ANSWER))
        with pytest.raises(httpx.RemoteProtocolError):
            door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
        assert not door.usages[0].complete


def test_a_slow_provider_that_goes_on_speaking_is_not_cut(fake):
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        fake.plan(Drips(ANSWER, bytes_at_once=200, pause_seconds=0.1))
        assert door.post("/anthropic/v1/messages", request("claude-opus-4-5")).status_code == 200
        assert door.usages[0].complete


def test_a_guest_that_does_not_read_its_answer_does_not_keep_what_the_call_has_reserved(fake):
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        fake.plan(Raw((b": nothing\n\n" * 100_000,) * 50))
        body = json.dumps(request("claude-opus-4-5")).encode()
        head = f"POST {PATHS['anthropic']} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", door.port)) as guest:
            guest.sendall(head.encode() + body)
            assert _within(10, lambda: door.usages)
            assert (door.usages[0].counts, door.usages[0].complete) == ("worst", False)
        assert _within(10, lambda: fake.gone == 1)


@pytest.mark.parametrize("move", [Silent(), Silent(answer=ANSWER)])
def test_a_guest_that_goes_away_ends_the_call_upstream_at_once(door, fake, move):
    fake.plan(move)
    with pytest.raises(httpx.ReadTimeout):
        door.post("/anthropic/v1/messages", request("claude-opus-4-5"), timeout=0.3)
    assert _within(2, lambda: fake.gone == 1 and door.usages)
    assert not door.usages[0].complete
    assert door.usages[0].status == (499 if move.answer is None else 200)


async def test_streams_at_once_do_not_wait_for_one_that_is_silent(door, fake):
    fake.plan([Silent(), *[ANSWER] * 19])
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        calls = [
            asyncio.ensure_future(client.post(door.url(PATHS["anthropic"]), json=request("claude-opus-4-5")))
            for _ in range(20)
        ]
        answered = [await call for call in itertools.islice(asyncio.as_completed(calls), 19)]
        waiting = [call for call in calls if not call.done()]
        assert [answer.status_code for answer in answered] == [200] * 19
        assert len(waiting) == 1
        waiting[0].cancel()


def test_what_openrouter_reports_is_the_cost(door, fake):
    model = for_provider(door, fake, "openrouter")
    fake.plan(Answers("x", cost_usd=0.0123456), Answers("x", cost_usd=0))
    for _ in range(2):
        door.post(PATHS["openrouter"], request(model, True, "openrouter"))
    assert [usage.cost_microusd for usage in door.usages] == [12346, 0]


def answered(usage: dict, text: str = "hello") -> Raw:
    """A whole stream of Anthropic's that says this of itself, at its start and at its end."""
    events = [
        {"type": "message_start", "message": {"usage": usage}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return Raw(tuple(b"data: %s\n\n" % json.dumps(event).encode() for event in events))


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 0, "output_tokens": 7},
        {"output_tokens": 7},
        {"input_tokens": None, "output_tokens": 7},
        {"input_tokens": 0, "output_tokens": 7, "cache_read_input_tokens": 0},
    ],
)
def test_a_prompt_without_tokens_counts_at_the_estimate_and_is_marked(door, fake, usage):
    reserved = []

    async def reserve(worst):
        reserved.append(worst)
        return tasks.Reserved(0, worst.output_tokens)

    door.allow(reserve=reserve)
    fake.plan(answered(usage))
    door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    [told] = door.usages
    assert (told.input_tokens, told.output_tokens) == (reserved[0].input_tokens, 7)
    assert told.estimated
    assert told.complete
    assert told.cost_microusd > 0


def test_an_answer_without_any_tokens_counts_at_what_its_bytes_can_be(door, fake):
    fake.plan(answered({"input_tokens": 0, "output_tokens": 0}, "x" * 300))
    door.post("/anthropic/v1/messages", {**request("claude-opus-4-5"), "max_tokens": 20_000})
    assert 300 < door.usages[0].output_tokens < 2000
    fake.plan(answered({"input_tokens": 0, "output_tokens": 0}, "x" * 300))
    door.post("/anthropic/v1/messages", {**request("claude-opus-4-5"), "max_tokens": 20})
    assert door.usages[1].output_tokens == 20


def test_a_prompt_that_was_guessed_teaches_nothing(door, fake):
    fake.plan(answered({"input_tokens": 0, "output_tokens": 7}))
    door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert door.grant.known.prompts == {}


def test_a_tier_that_nobody_knows_counts_as_all_that_was_reserved(door, fake):
    fake.plan(answered({"input_tokens": 9, "output_tokens": 7, "service_tier": "ultrafast"}))
    door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert (door.usages[0].counts, door.usages[0].complete) == ("worst", True)


def test_a_cost_that_openrouter_reports_needs_no_table(door, fake):
    model = for_provider(door, fake, "openrouter")
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "surprise": 5, "cost": 0.5}
    fake.plan(Raw((b'data: {"choices":[{"finish_reason":"stop"}],"usage":%s}\n\n' % json.dumps(usage).encode(),)))
    door.post(PATHS["openrouter"], request(model, True, "openrouter"))
    assert (door.usages[0].counts, door.usages[0].cost_microusd) == ("told", 500_000)


def test_a_compressed_answer_is_read_and_passed_on_plain(door, fake):
    plain = b'{"type":"message","usage":{"input_tokens":3,"output_tokens":4}}'
    fake.plan(Raw((gzip.compress(plain),), "application/json", (("content-encoding", "gzip"),)))
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5", False))
    assert answer.content == plain
    assert door.usages[0].input_tokens == 3
    assert fake.seen[0].header("accept-encoding") == "identity"


def test_a_tool_call_of_the_model_passes(door, fake):
    fake.plan(bash("ls -l"))
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5", False)).json()
    assert answer["content"][0]["input"] == {"command": "ls -l"}


@settings(max_examples=40)
@given(value=st.binary(max_size=30), name=st.sampled_from([b"x-session-id", b"x-stainless-os", b"user-agent"]))
def test_no_header_can_carry_another(door, fake, name, value):
    """Written by hand: no client would send these."""
    fake.seen.clear()
    body = json.dumps(request("claude-opus-4-5")).encode()
    head = b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    raw = head + b"%s: a%s\r\ncontent-length: %d\r\n\r\n%s" % (name, value, len(body), body)
    with socket.create_connection(("127.0.0.1", door.port)) as guest:
        guest.sendall(raw)
        guest.settimeout(2)
        try:
            while guest.recv(65536):
                pass
        except (TimeoutError, ConnectionError):
            pass
    for seen in fake.seen:
        assert [key for key, _ in seen.headers].count("x-api-key") == 1
        assert all(c.isprintable() or c == "\t" for _, one in seen.headers for c in one)


def _within(seconds: float, is_so) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
