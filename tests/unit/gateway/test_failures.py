"""Each way in which a model call fails: how often it is tried, what it is said to have cost, and in which words."""

import json
import os
import socket
import ssl
import subprocess
import threading

import httpx
import pytest

from agentcontainer_local.gateway import failure, said, watch
from agentcontainer_local.process.loopback import is_here
from agentcontainer_local.store import tasks
from tests.fake_provider import Answers, Cuts, Fails, Raw, Silent
from tests.unit.gateway.conftest import KEY, MODELS, PATHS, for_provider, request, served

ANSWER = Answers("hello from far away", input_tokens=900, output_tokens=50)
PAGE = b"<!doctype html><html><head><title>Welcome to nginx!</title></head></html>"
DOCUMENT = json.dumps({"id": "x", "choices": [{"message": {"content": "This is a mock request"}}]}).encode()
OPENROUTER_502 = (
    b": OPENROUTER PROCESSING\n\n",
    b'data: {"choices":[],"error":{"code":502,"message":"Worker limit reached"}}\n\n',
    b"data: [DONE]\n\n",
)


def called(door, kind: str = "anthropic", **changes):
    """The answer to one call, and what is recorded of it."""
    door.allow(**changes)
    answer = door.post(PATHS[kind], request(next(iter(door.grant.models)), True, kind))
    return answer, door.usages[-1]


@pytest.mark.parametrize(
    "move",
    [
        Raw((PAGE,), "text/html"),
        Raw((PAGE[:5], PAGE[5:]), "text/plain"),
        Raw((DOCUMENT,), "application/json"),
        Raw((DOCUMENT,), "text/event-stream"),
        Fails(301, headers=(("location", "https://elsewhere.example/"),)),
        Fails(308),
        Fails(400),
        Fails(401),
        Fails(403),
        Fails(404, "File Not Found"),
        Fails(405),
        Fails(422),
        Fails(501),
        Fails(429, "You exceeded your current quota (insufficient_quota)"),
        Raw((PAGE,), "text/event-stream"),
    ],
)
@pytest.mark.parametrize("kind", ["anthropic", "openai responses", "openrouter"])
def test_a_wrong_address_or_a_refusal_fails_at_once_and_costs_nothing(door, fake, move, kind):
    for_provider(door, fake, kind.split()[0])
    fake.plan(move)
    answer, usage = called(door, kind)
    assert answer.json()["error"]["message"] == failure.TO_PI["fatal"][1]
    assert 400 <= answer.status_code < 429
    assert (usage.counts, usage.input_tokens, usage.output_tokens, usage.complete) == ("nothing", 0, 0, False)
    assert usage.error.startswith(door.grant.base_url)
    assert MODELS[kind.split()[0]] in usage.error


@pytest.mark.parametrize(
    "move",
    [
        Fails(408),
        Fails(425),
        Fails(429),
        Fails(500),
        Fails(502),
        Fails(503),
        Fails(504),
        Fails(529),
        Cuts(ANSWER, 0),
        Raw(()),
        Raw((b": still working\n\n",)),
        Raw(OPENROUTER_502),
        Raw((b"".join(OPENROUTER_502),)),
    ],
)
def test_what_may_pass_is_tried_again_and_costs_nothing_before_the_answer_has_begun(door, fake, move):
    for_provider(door, fake, "openrouter")
    fake.plan(move)
    answer, usage = called(door, "openrouter")
    assert answer.json()["error"]["message"] == failure.TO_PI["passing"][1]
    assert (usage.counts, usage.input_tokens, usage.output_tokens, usage.complete) == ("nothing", 0, 0, False)
    assert usage.error


def test_the_words_for_pi_are_of_their_kind_only():
    """Pi's patterns, from pi-ai 1.5.2: an upgrade that changes them shows in test_with_pi."""
    assert not said.OVERFLOW.search(failure.TO_PI["fatal"][1])
    assert said.OVERFLOW.search(failure.TO_PI["overflow"][1])
    assert "overloaded" in failure.TO_PI["passing"][1] and "overloaded" not in failure.TO_PI["fatal"][1]


@pytest.mark.parametrize(
    ("base_url", "what"),
    [
        ("http://no-such-host.invalid", "no-such-host.invalid was not found"),
        ("http://127.0.0.1:9", "nothing listens at 127.0.0.1 port 9"),
        ("ftp://127.0.0.1", "not an http or https address"),
    ],
)
@pytest.mark.parametrize("reached", [False, True])
def test_an_address_that_cannot_be_reached_is_tried_again_only_if_it_has_answered_before(door, base_url, what, reached):
    answer, usage = called(door, base_url=base_url, reached=lambda: reached)
    assert what in usage.error
    assert (answer.status_code >= 500) == (reached and not base_url.startswith("ftp"))
    assert (usage.status, usage.counts) == (502, "nothing")


def test_the_sixth_failure_in_a_row_is_the_last_one_and_so_is_the_second_silence(fake):
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        for attempt, silent_before, move, again in (
            (5, 0, Fails(500), True),
            (6, 0, Fails(500), False),
            (1, 0, Silent(), True),
            (2, 1, Silent(), False),
        ):

            async def reserve(worst, attempt=attempt, silent_before=silent_before):
                return tasks.Reserved(0, worst.output_tokens, attempt, silent_before)

            fake.plan(move)
            answer, usage = called(door, reserve=reserve)
            assert (answer.status_code >= 500) == again
            assert ("in a row" in usage.error) == (not again)


def test_a_silent_call_without_a_stream_may_have_been_answered_so_it_counts_whole(fake):
    """Else an agent could have long answers written that nobody counts."""
    with served(0.3, base_url=fake.base_url("anthropic")) as door:
        fake.plan(Silent())
        door.post(PATHS["anthropic"], request("claude-opus-4-5", stream=False))
        assert door.usages[0].counts == "worst"
        assert door.usages[0].input_tokens > 0


def test_a_plain_server_behind_https_and_an_untrusted_certificate_are_said(door, fake, tmp_path):
    answer, usage = called(door, base_url=fake.base_url("anthropic").replace("http://", "https://"))
    assert answer.status_code == 424
    assert "TLS" in usage.error
    with _tls(tmp_path) as port:
        answer, usage = called(door, base_url=f"https://127.0.0.1:{port}")
    assert answer.status_code == 424
    assert "can't be trusted" in usage.error


def test_a_port_that_does_not_speak_http_is_said(door):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_greet, args=(listening,))
        thread.start()
        answer, usage = called(door, base_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert answer.status_code == 424
    assert "does not speak HTTP" in usage.error


def test_the_pages_title_the_redirects_target_and_the_providers_message_are_quoted(door, fake):
    fake.plan(
        Raw((PAGE,), "text/html"),
        Fails(301, headers=(("location", "https://elsewhere.example/v1?key=s"),)),
        Fails(404, "File Not Found"),
    )
    assert "Welcome to nginx!" in called(door)[1].error
    redirected = called(door)[1].error
    assert "https://elsewhere.example/v1" in redirected and "key=s" not in redirected
    assert '"File Not Found"' in called(door)[1].error


def test_a_password_in_the_address_and_the_key_are_never_said(door, fake):
    address = fake.base_url("anthropic").replace("//", "//somebody:secret-password@")
    fake.plan(Fails(400, f"bad key {KEY}"))
    for base_url in (address, "http://somebody:secret-password@127.0.0.1:9"):
        answer, usage = called(door, base_url=base_url)
        assert "secret-password" not in answer.text + usage.error + (usage.detail or "")
        assert KEY not in answer.text + usage.error + (usage.detail or "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("task", "Give the task another"),
        ("agent", "Give the agent another"),
        ("store", "providers set anthropic < FILE"),
        ("environment", "ANTHROPIC_API_KEY"),
    ],
)
def test_a_wrong_key_is_mended_where_it_was_given(door, fake, source, words):
    fake.plan(Fails(401, "invalid x-api-key"))
    assert words in called(door, key_source=source)[1].error


@pytest.mark.parametrize(("kind", "suggested"), [("openai responses", True), ("openai completions", False)])
def test_a_404_suggests_chat_completions_where_the_address_is_ones_own(door, fake, kind, suggested):
    for_provider(door, fake, "openai")
    for own in (True, False):
        fake.plan(Fails(404, "Not Found"))
        assert ("--api chat-completions" in called(door, kind, own_address=own)[1].error) == (suggested and own)


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
        b'data: {"error":{"code":429,"message":"slow down"},"choices":[]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"error"}],"error":{"code":502,"message":"gone"}}\n\n',
        b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"server_error",'
        b'"message":"sorry"}}}\r\n\r\n',
    ],
)
@pytest.mark.parametrize("cut", [0, 9, 40])
def test_an_error_within_a_stream_that_may_pass_becomes_a_cut(door, fake, event, cut):
    for_provider(door, fake, "openrouter")
    begin = b'data: {"choices":[{"delta":{"content":"hello \\"error\\" "}}]}\n\n'
    fake.plan(Raw((begin, event[:cut], event[cut:], b"data: [DONE]\n\n")))
    got = _until_cut(door, "openrouter")
    assert got.startswith(begin) and b"slow down" not in got and b"gone" not in got and b"sorry" not in got
    usage = door.usages[-1]
    assert (usage.complete, usage.counts, usage.status) == (False, "worst", 200)
    assert "broke off its answer" in usage.error


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'data: {"error":{"code":400,"message":"your prompt smells"},"choices":[]}\n\n', "fatal"),
        (b'data: {"error":{"code":400,"message":"maximum context length is 8192 tokens"}}\n\n', "overflow"),
        (b'data: {"choices":[{"delta":{},"finish_reason":"model_context_window_exceeded"}]}\n\n', "overflow"),
        (b'data: {"type":"message_delta","delta":{"stop_reason":"model_context_window_exceeded"}}\n\n', "overflow"),
        (
            b'data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"context_window"}}}\n\n',
            "overflow",
        ),
    ],
)
def test_another_error_within_a_stream_is_told_to_pi_in_its_words(door, fake, event, kind):
    for_provider(door, fake, "openrouter")
    fake.plan(Raw((b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n', event)))
    answer, usage = called(door, "openrouter")
    assert answer.text.endswith(watch.told("completions", kind).decode())
    assert not usage.complete and usage.error


@pytest.mark.parametrize(
    "words",
    [
        "Could not process image",
        "image input is not supported by this model",
        "mmproj is missing",
        "No endpoints found that support image input",
        "this model does not support vision",
    ],
)
def test_a_refused_picture_is_told_as_one(door, fake, words):
    fake.plan(Fails(400, words))
    answer, usage = called(door)
    assert answer.json()["error"]["message"] == failure.TO_PI["picture"][1]
    assert words in usage.error and "--no-images" in usage.error


def test_a_text_that_speaks_of_errors_is_no_error():
    chunk = json.dumps(
        {
            "choices": [
                {
                    "delta": {"content": 'say {"error": {"code": 500}} and "finish_reason": "error"'},
                    "finish_reason": None,
                }
            ],
            "error": None,
        }
    ).encode()
    watching = watch.Watch("completions")
    event = b"data: " + chunk + b"\n\n"
    assert watching.feed(event) == (event, None)
    assert watching.characters >= 57


def test_the_characters_that_have_come_are_counted_in_each_dialect():
    for dialect, events in {
        "messages": [b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}\n\n'],
        "responses": [
            b'data: {"type":"response.output_text.delta","delta":"hello"}\n\n',
            b'data: {"type":"response.output_text.done","text":"hello"}\n\n',
        ],
        "completions": [b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'],
    }.items():
        watching = watch.Watch(dialect)
        assert [watching.feed(event) for event in events] == [(event, None) for event in events]
        assert watching.characters == 5


@pytest.mark.parametrize(
    ("words", "window"),
    [
        (
            '{"error":{"code":400,"message":"request (17000 tokens) exceeds the available context size (16384 tokens),'
            ' try increasing it","type":"exceed_context_size_error","n_prompt_tokens":17000,"n_ctx":16384}}',
            16384,
        ),
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens", 8192),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200_000),
        ("This endpoint's maximum context length is 131,072 tokens. However, you requested about 140000", 131_072),
        ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 32_768),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1_048_576),
        (
            "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context"
            " length of only 4096 tokens",
            4096,
        ),
        ("Your input exceeds the context window of this model.", None),
    ],
)
def test_a_prompt_that_is_too_long_is_told_with_the_window_that_the_error_names(door, fake, words, window):
    learned = []
    fake.plan(Raw((), "text/plain"), Fails(400, words))
    called(door)
    answer, _ = called(door, learn=lambda model, tokens, size: learned.append(tokens) or False)
    assert answer.json()["error"]["message"] == failure.TO_PI["overflow"][1]
    assert learned == [window]
    fake.plan(Fails(400, words))
    answer, _ = called(door, learn=lambda model, tokens, size: True)  # Pi is to be started anew
    assert answer.json()["error"]["message"] == failure.TO_PI["fatal"][1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no such model","type":"x"}}', "no such model"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":"model \'x\' not found"}', "model 'x' not found"),
        (b'{"message":"m"}', "m"),
        (
            b'data: {"error": {"message": "Error processing stream start", "code": 500}}\n\ndata: [DONE]',
            "Error processing stream start",
        ),
        (b'{"error":{"message":"{\\"error\\":{\\"message\\":\\"inner\\"}}"}}', "inner"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b"Bad Gateway\n", "Bad Gateway"),
        (b"<html><p>x</p></html>", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
        (b"[" * 100_000, ""),
        (b'{"message":"' + b"x" * 9000 + b'"}', "x" * 499 + "\u2026"),
        (b'{"message":"a\\u001b[31mb\\nc"}', "a [31mb c"),
    ],
)
def test_a_providers_own_message_is_found_in_whatever_it_sends(body, message):
    assert said.message(body) == message


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("LOCALHOST.", True),
        ("llm.localhost", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.5", False),
        ("api.openai.com", False),
        ("localhost.example", False),
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.1", True),
        ("192.168.1", False),
        ("localhost.localdomain", True),
        ("IP6-localhost", True),
        ("box", True),
        ("lan", False),
        ("commented", False),
        ("", False),
        ("\u00fcber.example", False),
    ],
)
def test_a_model_on_this_machine_is_never_asked_through_a_proxy(tmp_path, host, here):
    (tmp_path / "hosts").write_text(
        "127.0.0.1 localhost localhost.localdomain # commented\n# 127.0.0.1 lan\n"
        "::1 ip6-localhost\n127.0.1.1\tBox.example box\n192.168.1.5 lan\n\nnonsense\n"
    )
    assert is_here(host, tmp_path / "hosts") == here


def test_a_proxy_of_the_environment_is_left_out_for_loopback_and_named_in_errors(monkeypatch, fake):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://somebody:secret@127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with served(base_url=fake.base_url("anthropic")) as door:
        assert called(door)[0].status_code == 200
        answer, usage = called(door, base_url="http://model.example")
    assert answer.status_code == 424
    assert "proxy http://127.0.0.1:9" in usage.error and "secret" not in usage.error


def _until_cut(door, kind: str) -> bytes:
    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream(
            "POST",
            door.url(PATHS[kind]),
            json=request(next(iter(door.grant.models)), True, kind),
            trust_env=False,
        ) as answer,
    ):
        for piece in answer.iter_raw():
            got += piece
    return got


def _greet(listening: socket.socket) -> None:
    with listening.accept()[0] as guest:
        guest.sendall(b"220 mail.example ESMTP\r\n")
        guest.recv(65536)


class _tls:
    """A server whose certificate nobody has signed."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self) -> int:
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                key,
                "-out",
                certificate,
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.listening = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()
        return self.listening.getsockname()[1]

    def _accept(self) -> None:
        try:
            self.listening.accept()[0].close()
        except OSError:
            return

    def __exit__(self, *error) -> None:
        self.thread.join(10)
        self.listening.close()
