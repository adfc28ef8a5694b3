"""Real Pi in a real container: its model calls are recorded, and replayed with the provider gone and without a key."""

import re
from pathlib import Path

import pytest

from tests import fake_provider
from tests.fake_provider import Answers, Fails, bash
from tests.system.conftest import Server, serving

PROVIDERS = {
    "anthropic": ("claude-sonnet-4-5", {}),
    "openai": ("gpt-5", {}),
    "chat completions": ("gpt-of-tomorrow", {"AGENTCONTAINER_OPENAI_API": "chat-completions"}),
}
# Prints what is different in every run: dates, durations, temporary files, ids, and where Pi has kept what was cut off.
CHANGES = """date; date -Iseconds; date +%s; ls -la / | tail -3; mktemp; mktemp -d; time sleep 0.02; ls -l ~/task
git init -q x && cd x && git -c user.name=a -c user.email=a@b commit --allow-empty -m first && git log; cd ..
cat /proc/sys/kernel/random/uuid; echo made > out.txt"""
PLAN = [
    bash(CHANGES),
    bash("seq 100000"),
    Fails(529, "overloaded"),
    bash('finish --complete-task --message "Done" out.txt'),
]


def result(server: Server, **options) -> dict:
    task = server.run("Make out.txt", **options)
    kept = {name: task[name] for name in ("status", "result", "error", "tokenUsage", "execution")}
    moves = [event["data"]["status"] for event in server.history(task["id"]) if event["event"] == "task.updated"]
    return {**kept, "moves": moves, "files": server.outputs(task["id"])}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_recorded_run_is_repeated_with_the_provider_gone(tmp_path: Path, name: str):
    model, environ = PROVIDERS[name]
    tapes, provider = tmp_path / "tapes", name if name == "anthropic" else "openai"
    options = {"model": model, "provider": provider}
    with fake_provider.serving() as fake:
        fake.plan(PLAN)
        with serving(tmp_path / "first", AGENTCONTAINER_RECORD=str(tapes), **environ, **fake.environ()) as server:
            first = result(server, **options)
        gone = fake.base_url(provider)
    assert first["status"] == "finished", first["error"]
    assert first["files"] == {"out.txt": b"made\n"}
    away = {f"AGENTCONTAINER_{provider.upper()}_BASE_URL": gone, f"{provider.upper()}_API_KEY": ""}
    with serving(tmp_path / "second", AGENTCONTAINER_REPLAY=str(tapes), **environ, **away) as server:
        second = result(server, **options)
    assert second == first
    [tape] = tapes.iterdir()
    assert re.search(r"^ended: finished$", tape.read_text(), re.MULTILINE)
    assert f"fake-key-of-{provider}" not in tape.read_text()


def test_a_conversation_with_real_pi_is_repeated(tmp_path: Path):
    tapes, told = tmp_path / "tapes", []
    overrides = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
    with fake_provider.serving() as fake:
        fake.plan(bash("echo 1 > a.txt; attach a.txt"), Answers("One."), bash("cat a.txt; date"), Answers("Two."))
        for number, settings in enumerate(
            ({"AGENTCONTAINER_RECORD": str(tapes), **fake.environ()}, {"AGENTCONTAINER_REPLAY": str(tapes)})
        ):
            with serving(tmp_path / f"server-{number}", **settings) as server:
                task = server.converse("Count.", overrides=overrides)
                server.answered(task["id"], 1)
                server.say(task["id"], "Go on.")
                server.answered(task["id"], 2)
                told.append([message["content"] for message in server.transcript(task["id"])])
                server.post(f"/tasks/{task['id']}/cancel", expect=200)
    assert told[0] == told[1] == ["Count.", "One.", "Go on.", "Two."]


def test_instructions_that_were_changed_are_named_in_the_tasks_error(tmp_path: Path):
    tapes = tmp_path / "tapes"
    options = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
    with fake_provider.serving() as fake:
        fake.plan(bash('finish --complete-task --message "Done"'))
        with serving(tmp_path / "first", AGENTCONTAINER_RECORD=str(tapes), **fake.environ()) as server:
            assert server.run("Make out.txt", **options)["status"] == "finished"
    [tape] = tapes.iterdir()
    tape.write_text(tape.read_text().replace("You are a coding assistant", "You are a poet"))
    with serving(tmp_path / "second", AGENTCONTAINER_REPLAY=str(tapes)) as server:
        changed = server.run("Make out.txt", **options)
        other = server.run("Make another.txt", **options)
        assert f"differs from the recording {tape.name}" in changed["error"]
        assert re.search(r"- .*poet.*\n *\+ .*coding assistant", changed["error"])
        assert f"The nearest one is {tape.name}" in other["error"]
        logged = server.log.read_text()
        assert all(f"task={changed['id']} {line}" in logged for line in changed["error"].split("\n"))
