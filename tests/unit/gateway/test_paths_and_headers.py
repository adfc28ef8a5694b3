"""Paths, headers and bodies that a task may not send through the gateway."""

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.gateway import admission, routes
from agentcontainer_local.gateway.refusal import Refusal
from agentcontainer_local.prices import Prices
from tests.unit.gateway.conftest import PATHS, granted, request

PRICES = Prices.read()
BODY = json.dumps(request("claude-opus-4-5")).encode()


def asked(door, target: bytes, method: bytes = b"POST") -> int:
    """The status of a request whose target is written as it is; 0 when the server would not even read it."""
    raw = b"%s %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (method, target, len(BODY))
    with socket.create_connection(("127.0.0.1", door.port)) as guest:
        guest.settimeout(5)
        guest.sendall(raw + BODY)
        answer = guest.recv(65536)
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/anthropic",
        b"/anthropic/v1/models",
        b"/anthropic/v1/files",
        b"/anthropic/v1/messages/batches",
        b"/anthropic/v1/messages/",
        b"/anthropic//v1/messages",
        b"//anthropic/v1/messages",
        b"/anthropic/v1//messages",
        b"/anthropic/./v1/messages",
        b"/anthropic/x/../v1/messages",
        b"/anthropic/v1/messages/../messages",
        b"/anthropic/v1%2fmessages",
        b"/anthropic%2Fv1/messages",
        b"/anthropic/v1/%6dessages",
        b"/anthropic/v1/messages%00",
        b"/anthropic/v1/messages%3fx",
        b"/anthropic/v1/messages;x",
        b"/anthropic/v1/messages%0d%0ax:y",
        b"/ANTHROPIC/v1/messages",
        b"/anthropic/v1/v1/v1/messages",
        b"/anthropic/v1/..%2f..%2fopenai/v1/responses",
        b"/anthropic\\v1\\messages",
        b"/openai/v1/responses",
        b"/openrouter/api/v1/messages",  # another provider than the task's
        b"http://elsewhere.example/anthropic/v1/admin",
        b"/anthropic/v1/messages?x=%0d%0a",
        b"/anthropic/v1/messages?url=http://x/",
        b"/anthropic/v1/messages?" + b"a" * 1025,
    ],
)
def test_only_the_very_paths_of_a_model_call_are_open(door, fake, target):
    status = asked(door, target)
    assert status in (403, 400, 0)
    assert fake.seen == []
    assert door.usages == []


def test_a_fragment_stays_here(door, fake):
    assert asked(door, b"/anthropic/v1/messages?beta=true#c") == 200
    assert (fake.seen[0].path, fake.seen[0].query) == ("/v1/messages", "beta=true")


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"])
def test_only_post_is_open(door, fake, method):
    assert asked(door, b"/anthropic/v1/messages", method) == 403
    assert fake.seen == []


@given(st.binary(max_size=60))
def test_no_other_bytes_find_a_route(path):
    known = {b"/openrouter/api/v1/v1/messages", *routes.ROUTES}
    assert (routes.find(path) is None) or path.replace(b"/v1/v1/", b"/v1/") in known


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [
                b"/",
                b"..",
                b".",
                b"%2e",
                b"%2f",
                b"%5c",
                b"\\",
                b"anthropic",
                b"openai",
                b"v1",
                b"messages",
                b"responses",
                b"models",
                b"%00",
                b"?",
                b"&",
                b";",
                b"@",
                b":",
                b"x",
            ]
        ),
        max_size=10,
    )
)
def test_no_made_up_path_reaches_the_provider_elsewhere(door, fake, pieces):
    fake.forget()
    asked(door, b"/" + b"".join(pieces))
    assert all(seen.path == "/v1/messages" for seen in fake.seen)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff\xfe{\x00}\x00",
        b"{}" * 2,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "claude-opus-4-5", "x": NaN}',
        b'{"model": "claude-opus-4-5", "x": 1' + b"0" * 5000 + b"}",
        b'{"model": "claude-opus-4-5", "x": "\\ud800"}',
        '{"model": "claude-opus-4-5"}'.encode("utf-16"),
        '{"model": "claude-opus-4-5"}'.encode("utf-8-sig"),
    ],
)
def test_a_body_that_is_no_plain_json_object_is_malformed(door, fake, body):
    answer = door.post("/anthropic/v1/messages", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert fake.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "claude-fable-5", "model": "claude-opus-4-5"}',
        b'{"\\u006dodel": "claude-fable-5", "model": "claude-opus-4-5"}',
        b'{"model": "claude-opus-4-5", "tools": [{"input_schema": {"a": 1, "a": 2}}]}',
        b'{"model": "claude-opus-4-5", "tools": [{"input_schema": 1' + b"0" * 50 + b"}]}",
        b'{"model": "claude-opus-4-5" , "system": "\\u006d\\/" }\n',
    ],
)
def test_what_two_readers_could_read_differently_reaches_the_provider_as_it_was_checked(door, fake, body):
    def once(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    assert door.post("/anthropic/v1/messages", body).status_code == 200
    sent = fake.seen[-1].body
    assert json.loads(sent, object_pairs_hook=once)["model"] == "claude-opus-4-5"
    assert b"\\u" not in sent and b"fable" not in sent


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "claude-opus-4-5", "model": "claude-fable-5"}',
        b'{"model": "claude-opus-4-5", "\\u006dodel": "claude-fable-5"}',
    ],
)
def test_of_a_name_that_is_there_twice_the_last_one_counts(door, fake, body):
    assert (door.post("/anthropic/v1/messages", body).status_code, fake.seen) == (403, [])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": None},
        {"model": ""},
        {"model": ["claude-opus-4-5"]},
        {"model": {"id": "claude-opus-4-5"}},
        {"model": "claude-fable-5"},
        {"model": "claude-opus-4-5 "},
        {"model": "CLAUDE-OPUS-4-5"},
        {"model": "claude-opus-4-5:online"},
        {"model": "claude-opus-4-5", "Model": "claude-fable-5"},
        {"model": "claude-opus-4-5", "MODELS": ["x"]},
        {"model": "claude-opus-4-5", "models": ["claude-opus-4-5"]},
        {"model": "claude-opus-4-5", "fallbacks": [{"model": "claude-fable-5"}]},
        {"model": "claude-opus-4-5", "fallbacks": [{"model": "nobody-knows"}]},
        {"model": "claude-opus-4-5", "fallbacks": "x"},
        {"model": "claude-opus-4-5", "fallbacks": None},
        {"model": "claude-opus-4-5", "fallbacks": [{}]},
        {"model": "claude-opus-4-5", "fallbacks": {"model": "x"}},
    ],
)
def test_only_the_tasks_own_models_are_open(door, fake, body):
    answer = door.post("/anthropic/v1/messages", body)
    assert answer.status_code == 403
    assert fake.seen == []
    assert door.usages == []


def test_the_weak_model_is_open_too(door, fake):
    door.allow(models=frozenset({"claude-opus-4-5", "claude-haiku-4-5"}))
    assert door.post("/anthropic/v1/messages", request("claude-haiku-4-5")).status_code == 200
    assert door.usages[0].model == "claude-haiku-4-5"


def test_a_stand_in_that_costs_no_more_is_open_as_pi_asks_for_it(door, fake):
    door.allow(models=frozenset({"claude-fable-5"}))
    body = {**request("claude-fable-5"), "fallbacks": [{"model": "claude-opus-5"}]}
    assert door.post("/anthropic/v1/messages", body).status_code == 200


def test_a_task_that_may_not_call_now_is_told_why(door, fake):
    door.allow(refuse="The task is not running.")
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"))
    assert answer.status_code == 403
    assert answer.json()["error"]["message"] == "The task is not running."
    assert fake.seen == []


def test_nobody_without_a_grant_gets_anything(door, fake):
    door.grant = None
    assert door.post("/anthropic/v1/messages", request("claude-opus-4-5")).status_code == 403
    assert fake.seen == []


def test_a_refusal_is_in_words_that_pi_does_not_take_for_something_that_passes(door):
    """Pi's own list, the part that plain words could hit."""
    words = (
        "overloaded",
        "rate limit",
        "too many requests",
        "timeout",
        "timed out",
        "unavailable",
        "server error",
        "internal error",
        "connection",
        "terminated",
        "network",
        "retry",
        "too long",
        "too large",
        "context",
    )
    for path, body in [
        ("/x", {}),
        ("/anthropic/v1/messages", {"model": "x"}),
        ("/anthropic/v1/messages?ä", {}),
        ("/anthropic/v1/messages", {"model": "claude-opus-4-5", "preset": 1}),
    ]:
        answer = door.post(path, body)
        assert answer.status_code == 403
        assert not any(word in answer.text.lower() for word in words)


@pytest.mark.parametrize("path", PATHS.values())
def test_openais_and_anthropics_clients_both_find_the_message(door, path):
    error = door.post(path, {"model": "no"}).json()
    assert error["type"] == "error"
    assert {"type", "code", "message"} == error["error"].keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("claude-opus-4-5"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from(["model", "models", "fallbacks", "preset", "plugins", "Model", "x"])
ROUTE = routes.find(b"/anthropic/v1/messages")


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_whatever_is_in_a_body_it_is_refused_or_names_only_the_tasks_models(body):
    try:
        admission.understood(ROUTE, json.dumps(body).encode())
        admission.check_models(body, granted(), PRICES)
    except Refusal as refusal:
        assert refusal.status in (400, 403)
    else:
        assert body["model"] == "claude-opus-4-5"
        assert body.get("fallbacks", []) in ([], [{"model": "claude-opus-4-5"}] * len(body.get("fallbacks", [])))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_make_the_reader_of_bodies_raise_anything_but_a_refusal(raw):
    try:
        body, written = admission.understood(ROUTE, raw)
        assert isinstance(body, dict) and json.loads(written) == body
    except Refusal as refusal:
        assert refusal.status in (400, 403)


def heavy(piece: bytes, times: int) -> bytes:
    return b'{"model":"claude-opus-4-5","messages":[' + piece * times + b"0]}"


@pytest.mark.parametrize(("piece", "times"), [(b"[],", 2_000_000), (b"{},", 2_000_000), (b"1,", 8_000_000)])
def test_a_body_of_millions_of_values_is_not_read(door, fake, piece, times):
    """Reading it would take the memory and the time of all other tasks: some fifty bytes, and a moment, for each."""
    answer = door.post(PATHS["anthropic"], heavy(piece, times), timeout=60)
    assert (answer.status_code, fake.seen) == (413, [])


def test_a_long_text_full_of_commas_and_braces_is_no_such_body(door, fake):
    text = "{a: [1, 2]}, " * 100_000
    body = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": text}]}
    assert door.post(PATHS["anthropic"], body, timeout=60).status_code == 200


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("depth", [200, 350, 600, 900, 930, 960, 5000])
def test_a_body_of_any_depth_is_passed_on_or_malformed(door, fake, depth, scripted, caplog):
    door.allow(scripted=scripted, capped=True)
    for inmost in b"123":  # each goes on from the one before, but for what lies deepest
        deep = b'{"a":' * depth + b"%d" % inmost + b"}" * depth
        body = b'{"model":"claude-opus-4-5","max_tokens":9,"messages":[],"tools":[{"input_schema":' + deep + b"}]}"
        assert door.post(PATHS["anthropic"], body).status_code in (200, 400)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
