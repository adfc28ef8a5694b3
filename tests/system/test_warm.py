"""Containers that wait for a task with the agent up: the task cannot tell the difference, and nobody else sees them."""

import json
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fake_provider
from tests.fake_provider import FakeProvider
from tests.system.conftest import Server, podman, serving, wait_until
from tests.system.test_backups import command
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

DONE = "--complete-task --message Done"


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with fake_provider.serving() as fake:
        yield fake


@pytest.fixture
def warm(tmp_path: Path, provider: FakeProvider) -> Iterator[Server]:
    settings = {"AGENTCONTAINER_WARM": "1", "AGENTCONTAINER_IDLE_SECONDS": "1"}
    with serving(tmp_path / "data", **settings, **provider.environ()) as server:
        yield server


def asked(server: Server, fake: FakeProvider, model: str, **overrides) -> tuple[bool, dict, dict]:
    """A task's first request to its model: whether a container had waited for it, its headers and its body."""
    fake.forget()
    fake.plan(fake_provider.bash('finish --complete-task --message "Done"'))
    task = server.run("Do what there is to do.", model=model, **overrides)
    assert task["status"] == "finished", task["error"]
    first = fake.seen[0]
    body, headers = first.json, dict(first.headers)
    session = headers.get("session_id") or headers.get("session-id") or headers.get("x-session-id")
    text = first.body.decode()
    for own in {session, body.get("prompt_cache_key"), task["id"]} - {None}:  # the session's id, which differs
        text = text.replace(own, "SESSION")
        headers = {name: value.replace(own, "SESSION") for name, value in headers.items()}
    for name in ("host", "content-length", "x-client-request-id"):
        headers.pop(name, None)
    return server.took(task), {"path": first.path, **headers}, json.loads(text)


@pytest.mark.parametrize(("name", "models"), [
    ("anthropic", ("claude-sonnet-4-5", "claude-haiku-4-5")),
    ("openai", ("gpt-5", "gpt-4o")),
    ("openrouter", ("openai/gpt-5-mini", "openai/gpt-5")),
], ids=str)  # fmt: skip
def test_the_first_request_is_the_same_as_of_a_container_that_was_started_for_the_task(
    warm: Server, provider: FakeProvider, name: str, models: tuple[str, ...]
):
    restart(warm, "0")
    cold = [asked(warm, provider, model, provider=name) for model in models]
    assert [body["model"] for _, _, body in cold] == list(models) and not any(took for took, *_ in cold)
    restart(warm, "1")
    asked(warm, provider, models[0], provider=name)
    for model, (_, *before) in zip(models, cold, strict=True):
        warm.until_one_waits()
        took, *found = asked(warm, provider, model, provider=name)
        assert took and found == before


def restart(server: Server, slots: str) -> None:
    server.stop()
    server.log.write_text("")
    server.settings["AGENTCONTAINER_WARM"] = slots
    server.start()


def test_a_whole_job_with_files_is_done_in_a_container_that_waited(warm: Server):
    warm.warmed()
    csv = warm.upload("numbers.csv", b"1\n2\n3\n")
    job = bash(
        "awk '{s+=$1} END {print s}' task_files/numbers.csv > sum.txt; cat ~/TASK.md ~/task/HARNESS.md | wc -l; ls -A",
        finish="--complete-task --message Summed sum.txt",
    )
    task = warm.run(job, files=[csv])
    assert task["status"] == "finished", task["error"]
    assert warm.took(task) and warm.outputs(task["id"]) == {"sum.txt": b"6\n"}
    assert task["walls"]["isolation"] == "container" and task["walls"]["limits"]["memoryMb"]["by"]
    assert set(warm.said(task["id"]).split()[1:]) == {"TASK.md", "sum.txt", "task", "task_files"}
    warm.until_one_waits()
    assert warm.row("SELECT count(*) AS n FROM tasks")["n"] == 2


def test_a_conversation_that_began_in_one_goes_on_after_it_was_stopped(warm: Server):
    first = warm.converse("Hello")
    warm.answered(first["id"], 1)
    warm.post(f"/tasks/{first['id']}/cancel", expect=200)
    warm.until_one_waits()
    task = warm.converse(bash("echo one > log; echo first answer"), instructions="You are a parrot.")
    assert warm.answered(task["id"], 1)["content"].strip() == "first answer" and warm.took(task)
    slot = warm.row("SELECT name FROM slots WHERE task_id = ?", task["id"])["name"]
    wait_until(lambda: slot not in podman("ps", "--format", "{{.Names}}").split(), 20)
    look = "grep -hc 'first answe[r]' /var/lib/agentcontainer/sessions/*; ls /var/lib/agentcontainer/sessions | wc -l"
    warm.say(task["id"], bash(f"cat log; {look}"))
    one, said, sessions = warm.answered(task["id"], 2)["content"].split()
    assert (one, sessions) == ("one", "1") and int(said) >= 1
    warm.post(f"/tasks/{task['id']}/cancel", expect=200)


KINDS = [{"limits": {"memoryMb": 2048}}, {"internetAccess": True}, {"weakModel": "claude-haiku-4-5"},
         {"allowedHosts": ["example.org"]}, {"model": "of-nobody"}]  # fmt: skip


@pytest.mark.parametrize("other", KINDS, ids=str)
def test_a_container_waits_for_tasks_of_its_own_kind_and_for_no_others(
    warm: Server, provider: FakeProvider, other: dict
):
    usual = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
    took, *cold = asked(warm, provider, **usual | other)
    assert not took
    warm.until_one_waits()
    assert not asked(warm, provider, **usual)[0]
    took, *found = asked(warm, provider, **usual | other)
    assert took and found == cold


def test_one_that_waits_is_nobodys(warm: Server, tmp_path: Path):
    warm.warmed()
    slot = next(iter(warm.waiting()))
    slot_id = "slt_" + slot.split("slt_")[1].partition("-")[0]
    assert warm.metric("agentcontainer_runs") == 0
    for path in ("/tasks", "/account", "/doctor"):
        assert slot_id not in json.dumps(warm.get(path)), path
    minutes = warm.get("/account")
    archive = tmp_path / "b.tar.gz"
    assert command("backup", str(archive), "--data", str(warm.data)).returncode == 0
    with tarfile.open(archive) as opened:
        assert not any(part.name.startswith("volumes/") for part in opened)
    assert warm.get("/account") == minutes and warm.waiting()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_none_waits_any_more_after_the_servers_end_or_the_next_start(warm: Server, number: signal.Signals):
    warm.warmed()
    assert warm.waiting()
    warm.stop(number)
    if number == signal.SIGKILL:
        name = min(warm.waiting(), key=len)
        podman("rm", "-f", name)  # volumes alone are found too
        warm.start()
        wait_until(lambda: not warm.everything(), 30)
    assert not warm.everything()
    uids = Path("~/.local/state/agentcontainer/uids").expanduser()
    store = warm.row("SELECT id FROM store")["id"]
    assert not [link for link in uids.iterdir() if link.is_symlink() and store in str(link.readlink())]
    if number != signal.SIGKILL:
        warm.start()


def test_a_workspace_that_was_worked_in_is_kept_where_an_old_copy_of_the_database_is_put_back(warm: Server):
    """The damage of a database may take a row as well."""
    warm.warmed()
    task = warm.dispatch(bash("echo one >> log", "hibernate --for 1d"))
    warm.wait(task["id"], "hibernating")
    assert warm.took(task)
    name = warm.row("SELECT name FROM slots WHERE task_id = ?", task["id"])["name"]
    warm.stop(signal.SIGKILL)
    warm.execute("DELETE FROM slots")
    warm.start()
    wait_until(lambda: "a workspace is kept although" in warm.log.read_text(), 30)
    volumes = {f"{name}-work", f"{name}-state"}
    assert volumes <= warm.everything()
    for volume in volumes:
        podman("volume", "rm", volume)
