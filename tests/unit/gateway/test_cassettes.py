"""Model calls are recorded, one file for each task, and answered from the recording without a provider."""

import asyncio
import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agentcontainer_local.gateway.cassettes import shelf
from tests import simulated
from tests.fake_provider import Answers, Cuts, Drips, Fails, FakeProvider, Raw, Silent, bash

FORMATS = {
    "messages": ("anthropic", "claude-sonnet-4-5", {}),
    "responses": ("openai", "gpt-5", {}),
    "completions": ("openai", "gpt-5", {"AGENTCONTAINER_OPENAI_API": "chat-completions"}),
    "openrouter": ("openrouter", "z-ai/glm-9", {}),
}
ADDS = Answers("", (("bash", {"command": "echo 6 > sum.txt"}),), 1200, 70, 300)
PLAN = [
    ADDS,
    bash('finish --complete-task --message "Six" sum.txt'),
]
CLAUDE = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
FIGURES = ("status", "result", "error", "tokenUsage", "execution", "budget")


@pytest.fixture
def tapes(tmp_path: Path) -> Path:
    return tmp_path / "tapes"


@pytest.fixture
def servers(tmp_path: Path, clock):
    """Servers with an empty store each."""
    made = iter(range(1000))

    def serving(environ: dict[str, str] | None = None, **settings):
        return simulated.serving(tmp_path / f"server-{next(made)}", clock, environ, **settings)

    return serving


@pytest.fixture
def record(servers, fake: FakeProvider, tapes: Path):
    """Records one task, and answers it."""

    async def recorded(*plan, instructions: str = "Add up.", environ: dict[str, str] | None = None, **options) -> dict:
        fake.plan(*(plan or PLAN))
        async with servers({**fake.environ(), **(environ or {})}, record=tapes) as server:
            return await server.run(instructions, **{**CLAUDE, **options})

    return recorded


def only(tapes: Path) -> Path:
    [found] = tapes.iterdir()
    return found


async def figures(server: simulated.SimulatedServer, task: dict) -> dict:
    """Everything of a task that a replay has to repeat."""
    calls = (await server.get(f"/tasks/{task['id']}/model-calls"))["data"]
    counted = [{name: call[name] for name in call if not name.endswith("At")} for call in calls]
    return {**{name: task.get(name) for name in FIGURES}, "calls": counted, "files": await server.outputs(task["id"])}


@pytest.mark.parametrize("format", FORMATS)
async def test_a_recorded_task_is_repeated_without_key_and_without_provider(servers, fake, tapes, format):
    provider, model, environ = FORMATS[format]
    fake.plan(PLAN)
    async with servers({**fake.environ(), **environ}, record=tapes) as server:
        task = await server.run("Add up.", model=model, provider=provider)
        first = await figures(server, task)
    assert first["status"] == "finished", first["error"]
    assert first["files"] == {"sum.txt": b"6\n"}
    asked = len(fake.seen)
    async with servers(environ, replay=tapes) as server:
        second = await figures(server, await server.run("Add up.", model=model))
    assert second == first
    assert first["tokenUsage"]["inputTokens"] > 1000
    assert len(fake.seen) == asked


async def test_a_conversation_is_one_recording(servers, fake, tapes):
    fake.plan(Answers("One."), Answers("Two."))
    told = []
    for settings, environ in (({"record": tapes}, fake.environ()), ({"replay": tapes}, {})):
        async with servers(environ, **settings) as server:
            task = await server.converse("Count.", overrides=CLAUDE)
            await server.answered(task["id"], 1)
            await server.say(task["id"], "Go on.")
            await server.answered(task["id"], 2)
            told.append([message["content"] for message in await server.transcript(task["id"])])
    assert told[0] == told[1] == ["Count.", "One.", "Go on.", "Two."]
    assert only(tapes).read_text().endswith("\nended: awaiting_input\n")


async def test_a_budget_is_used_up_at_the_same_call(servers, fake, tapes, record):
    dear = Answers("", (("bash", {"command": "echo more"}),), 20_000, 2_000)
    first = await record([dear] * 4, maxCostUsd=0.25)
    async with servers({}, replay=tapes) as server:
        second = await server.run("Add up.", **CLAUDE, maxCostUsd=0.25)
    assert "budget" in first["error"].lower()
    assert (second["status"], second["error"]) == (first["status"], first["error"])
    assert second["tokenUsage"] == first["tokenUsage"]


@pytest.mark.parametrize(
    "failing",
    [
        Fails(529, "overloaded"),
        Fails(429, "slow down", (("retry-after", "0.2"),)),
        Cuts(PLAN[0]),
        Cuts(PLAN[0], 0),
        Raw((b"<html><title>A page</title>",), "text/html"),
        Raw((b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',)),
        Raw((b"data: \xff\xfe\n\n",)),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_a_failure_of_the_provider_is_repeated_too(servers, fake, tapes, failing):
    fake.plan(failing, PLAN)
    async with servers(fake.environ(), record=tapes) as server:
        task = await server.dispatch("Add up.", **CLAUDE)
        first = await _after_retries(server, task)
    async with servers({}, replay=tapes) as server:
        second = await _after_retries(server, await server.dispatch("Add up.", **CLAUDE))
    assert len(first["calls"]) >= 1
    assert _without_times(second) == _without_times(first)


async def _after_retries(server: simulated.SimulatedServer, task: dict) -> dict:
    """The agent waits by the clock before it tries again."""
    async with asyncio.timeout(60):
        while (found := await server.get(f"/tasks/{task['id']}"))["status"] not in simulated.ENDED:
            await server.advance(1)
            await asyncio.sleep(0.01)
    return await figures(server, found)


def _without_times(figures: dict) -> dict:
    text = re.sub(r"after [\d.]+ s", "after … s", json.dumps(figures, default=repr))
    return json.loads(re.sub(r"http://127\.0\.0\.1:\d+|https://api\.anthropic\.com", "ADDRESS", text))


async def test_a_request_that_differs_fails_the_task_with_a_diff(servers, tapes, record, caplog):
    await record(bash("pytest\n# simulated output: 3 passed"), bash('finish --complete-task --message "Done"'))
    tape = only(tapes)
    async with servers({}, replay=tapes) as server:
        server.blocks = lambda block: "1 failed" if block.startswith("pytest") else None
        task = await server.run("Add up.", **CLAUDE)
    assert task["status"] == "failed"
    assert f"Model call 2 differs from the recording {tape.name}" in task["error"]
    assert re.search(r"body\.messages\[2\]\.content\[0\].*:\n *- .*3 passed.*\n *\+ .*1 failed", task["error"])
    assert all(f"task={task['id']} {line}" in caplog.text for line in task["error"].split("\n"))
    assert task["tokenUsage"]["calls"] == 2
    assert task["tokenUsage"]["inputTokens"] == 100  # the first one's


async def test_a_loose_replay_takes_the_next_answer_whatever_is_asked(servers, tapes, record):
    await record()
    async with servers({}, replay=tapes, replay_mode="loose") as server:
        task = await server.run("Add up all that there is.", **CLAUDE)
        assert task["status"] == "finished", task["error"]
        assert await server.outputs(task["id"]) == {"sum.txt": b"6\n"}


async def test_a_loose_replay_refuses_an_answer_of_another_api(servers, tapes, record):
    await record()
    environ = {"OPENAI_API_KEY": "sk-not-used"}
    async with servers(environ, replay=tapes, replay_mode="loose") as server:
        task = await server.run("Add up.", model="gpt-5", provider="openai")
    assert "/responses" in task["error"]
    assert "/messages" in task["error"]


async def test_a_task_that_makes_more_calls_than_were_recorded_fails(servers, tapes, record):
    await record()
    tape = only(tapes)
    calls = tape.read_text().split("\n- request:")
    tape.write_text("\n- request:".join(calls[:2]) + "\nended: finished\n")
    async with servers({}, replay=tapes) as server:
        task = await server.run("Add up.", **CLAUDE)
    assert "has 1 model calls, and the task makes one more" in task["error"]


async def test_a_task_without_a_recording_fails_and_names_the_nearest_one(servers, tapes, record):
    await record()
    async with servers({}, replay=tapes) as server:
        task = await server.run("Add it up.", **CLAUDE)
    assert "add-it-up-" in task["error"]
    assert only(tapes).name in task["error"]
    assert "- Add up.\n" in task["error"]


async def test_tasks_that_ask_the_same_have_recordings_of_their_own(servers, fake, tapes):
    def plan(word: str) -> list:
        return [bash(f'finish --complete-task --message "{word}"')]

    for settings, environ in (({"record": tapes}, fake.environ()), ({"replay": tapes}, {})):
        fake.plan(plan("one"), plan("two"), plan("named"))
        async with servers(environ, **settings) as server:
            results = [(await server.run("Say a word.", **CLAUDE))["result"] for _ in range(2)]
            body = {"instructions": "Say a word.", "metadata": {"cassette": "mine"}, "overrides": CLAUDE}
            named = await server.post("/agents/agt_standard_coding/tasks", body)
            results.append((await server.wait(named["id"]))["result"])
        assert results == ["one", "two", "named"]
    base = next(path.stem for path in tapes.iterdir() if path.stem.startswith("say-a-word-"))[:19]
    assert {path.name for path in tapes.iterdir()} == {f"{base}.yaml", f"{base}-2.yaml", "mine.yaml"}


@pytest.mark.parametrize("name", ["../up", "", "a/b", 5, ".hidden", "x" * 101])
async def test_a_name_that_is_no_file_name_fails_a_replay(servers, tapes, record, name):
    await record()
    async with servers({}, replay=tapes) as server:
        body = {"instructions": "Add up.", "metadata": {"cassette": name}, "overrides": CLAUDE}
        task = await server.wait((await server.post("/agents/agt_standard_coding/tasks", body))["id"])
    assert "metadata.cassette is not a name" in task["error"]


async def test_what_changes_from_run_to_run_is_not_compared(servers, fake, tapes):
    """The agent's command prints its task's id, the date and more, and the instructions name a temporary file."""
    lines = iter(
        [
            "Sat Nov 28 01:48:29 UTC 2026, 0.12s, /tmp/tmp.Ab12Cd34Ef, commit 3f2a9c1, 1764294509",
            "Sun Nov 29 23:01:02 UTC 2026, 1.50s, /tmp/tmp.Zz98Yy76Xx, commit b00c4d5e, 1764380909.25",
        ]
    )
    for number, (settings, environ) in enumerate((({"record": tapes}, fake.environ()), ({"replay": tapes}, {}))):
        fake.plan(bash("report"), bash('finish --complete-task --message "Done"'))
        async with servers(environ, **settings) as server:
            server.blocks = lambda block: next(lines) if block == "report" else None
            task = await server.run(f"Look at /tmp/tmp_{number}2345678 of 2026-11-2{number}.", **CLAUDE)
            assert task["status"] == "finished", task["error"]


async def test_patterns_of_ones_own_are_not_compared_either(servers, fake, tapes):
    lines = iter(["pid 17", "pid 4711"])
    for settings, environ in (({"record": tapes}, fake.environ()), ({"replay": tapes}, {})):
        fake.plan(bash("report"), bash('finish --complete-task --message "Done"'))
        async with servers(environ, **settings) as server:
            server.blocks = lambda block: next(lines) if block == "report" else None
            task = await server.run("Look.", **CLAUDE)
            assert task["status"] == "finished", task["error"]
        (tapes / "ignored.txt").write_text("# Process ids\npid \\d+\n")


async def test_calls_without_a_recording_are_recorded_when_both_are_asked_for(servers, fake, tapes, record):
    await record()
    fake.plan(bash('finish --complete-task --message "New"'))
    async with servers(fake.environ(), record=tapes, replay=tapes) as server:
        asked = len(fake.seen)
        old, new = await server.run("Add up.", **CLAUDE), await server.run("Something new.", **CLAUDE)
    assert (old["result"], new["result"]) == ("Six", "New")
    assert len(fake.seen) == asked + 1
    assert len(list(tapes.iterdir())) == 2


async def test_answers_come_as_slowly_as_they_did_where_that_is_asked_for(servers, fake, tapes, record):
    await record(Drips(PLAN[0], bytes_at_once=200, pause_seconds=0.05), PLAN[1:])
    last_ms = shelf.whole(only(tapes)).calls[0].answer.pieces[-1].at_ms
    assert last_ms >= 200
    async with servers({}, replay=tapes, replay_pace="recorded") as server:
        began = server.clock.steady()
        task = await server.dispatch("Add up.", **CLAUDE)
        async with asyncio.timeout(60):
            while (await server.get(f"/tasks/{task['id']}"))["status"] != "finished":
                await server.advance(0.01)
                await asyncio.sleep(0.001)
        assert server.clock.steady() - began >= last_ms / 1000


# Secrets

CANARIES = {name: f"cnry-{n}7Q{name}-0123456789" for n, name in enumerate(("key", "password", "path", "own"))}
LOOKS_LIKE_ONE = "sk-ant-api03-0123456789abcdefghij"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("whose", ["key", "own"])
async def test_no_key_is_written_whoever_repeats_it(servers, fake, tapes, format, whose):
    """The provider repeats the key of the call and what is in its address, in every part of an answer."""
    provider, model, environ = FORMATS[format]
    password = format == "messages"  # there is no room for one beside a bearer token
    known = {whose, "path", *(["password"] if password else [])}
    said = " ".join(CANARIES[name] for name in known)
    user = f"user:{CANARIES['password']}@" if password else ""
    where = f"http://{user}127.0.0.1:{fake.port}/{CANARIES['path']}"
    address = {"AGENTCONTAINER_%s_BASE_URL": where + "/v1", "%s_API_KEY": CANARIES["key"]}
    environ = {**environ, **{name % provider.upper(): value for name, value in address.items()}}
    fake.plan(*_echoes(said, CANARIES[whose]))
    own = {"providerApiKey": CANARIES["own"]} if whose == "own" else {}
    async with servers(environ, record=tapes) as server:
        instructions = f"Use {CANARIES[whose]} and {LOOKS_LIKE_ONE}."
        task = await server.dispatch(instructions, model=model, provider=provider, **own)
        await _after_retries(server, task)
    [tape] = tapes.iterdir()
    written = tape.read_bytes()
    assert written.count(b"<secret>") > 10
    decoded = b"".join(base64.b64decode(one) for one in re.findall(rb"base64: (\S+)", written))
    for name, canary in {**CANARIES, "pattern": LOOKS_LIKE_ONE}.items():
        assert canary.encode() not in written + decoded + tape.name.encode(), name
    assert decoded


def _echoes(said: str, key: str) -> list:
    """An error, a stream with the key in two pieces, bytes that are no text, and a page."""
    headers = (("x-echo", said), ("retry-after", key), ("request-id", key), ("x-should-retry", key))
    event = b"data: " + json.dumps({"type": "ping", "echo": said}).encode() + b"\n\n"
    cut = event.index(key.encode()) + 5
    return [
        Fails(529, said, headers),
        Raw((event[:cut], event[cut:])),
        Raw((b"data: \xff" + said.encode() + b"\n\n",)),
        Raw((f"<title>{said}</title>".encode(),), "text/html"),
    ]


# Damage


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("cassette: 1\n", "cassette: 2\n"), "version 2"),
        (lambda text: text.replace("cassette: 1\n", ""), "does not begin"),
        (lambda text: text.replace("ended: finished\n", ""), "its end is missing"),
        (lambda text: text.replace("  mode: autonomous", "  mode: automatic"), "task.mode"),
        (lambda text: "cassette: [", "line 2"),
        (lambda text: "", "does not begin"),
        (lambda text: "cassette: 1\n", "no `calls`"),
    ],
)
async def test_a_damaged_recording_keeps_a_server_from_starting(servers, tapes, record, change, why):
    await record()
    tape = only(tapes)
    tape.write_text(change(tape.read_text()))
    with pytest.raises(RuntimeError, match=re.escape(tape.name) + ".*" + why):
        async with servers({}, replay=tapes):
            pass


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("status: 200", "status: two hundred", 1), r"calls\.0\.answer\.status"),
        (lambda text: text.replace("of_call: 1", "of_call: 7"), "of_call"),
        (lambda text: text.replace("\n  answer:", "\n  answers:", 1), r"calls\.0"),
        (lambda text: text.replace("    pieces:\n", "    pieces: {\n", 1), "line"),
    ],
)
async def test_a_recording_that_is_damaged_inside_fails_its_task(servers, tapes, record, change, why):
    await record()
    tape = only(tapes)
    tape.write_text(change(tape.read_text()))
    async with servers({}, replay=tapes) as server:
        task = await server.run("Add up.", **CLAUDE)
    assert task["status"] == "failed"
    assert re.search(re.escape(tape.name) + " is damaged: .*" + why, task["error"])


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("x")])
async def test_a_directory_without_recordings_keeps_a_server_from_starting(servers, tapes, make):
    make(tapes)
    with pytest.raises(RuntimeError, match=re.escape(str(tapes))):
        async with servers({}, replay=tapes):
            pass


async def test_a_pattern_that_is_none_keeps_a_server_from_starting(servers, tapes, record):
    await record()
    (tapes / "ignored.txt").write_text("fine\n(\n")
    with pytest.raises(RuntimeError, match=r"ignored.txt, line 2"):
        async with servers({}, replay=tapes):
            pass


async def test_a_task_that_has_not_ended_leaves_the_recording_before_it_as_it_was(servers, fake, tapes, record):
    await record()
    before = only(tapes).read_text()
    fake.plan(PLAN[0], Silent())
    async with servers(fake.environ(), record=tapes) as server:
        await server.dispatch("Add up.", **CLAUDE)
        async with asyncio.timeout(60):
            while len(fake.seen) < 4:  # no row changes when the provider has the call
                await asyncio.sleep(0.01)
    [partial] = tapes.glob("*.partial")
    [whole] = tapes.glob("*.yaml")
    assert whole.read_text() == before
    assert "ended" not in yaml.safe_load(partial.read_text())


async def test_a_recording_that_cannot_be_written_does_not_fail_its_task(servers, fake, tapes, caplog):
    fake.plan(PLAN)
    async with servers(fake.environ(), record=tapes) as server:
        tapes.rmdir()
        task = await server.run("Add up.", **CLAUDE)
    assert task["status"] == "finished"
    assert "was stopped" in caplog.text


def test_nothing_of_recordings_is_loaded_where_none_are_asked_for():
    code = "import sys, agentcontainer_local.app; print([name for name in sys.modules if 'cassettes' in name])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
