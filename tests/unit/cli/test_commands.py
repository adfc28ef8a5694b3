"""The command against the real API without an engine: what it prints, to whom, and how it ends."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentcontainer_local import schemas
from agentcontainer_local.cli import app, doctor, output
from agentcontainer_local.cli.exits import Exit
from agentcontainer_local.cli.install_service import _word
from agentcontainer_local.client import Client, folder
from agentcontainer_local.store import accounts, db, lock, tasks
from tests.conftest import KEY
from tests.unit.cli.acts import AGENT, dispatched, end, give
from tests.unit.test_budget import Told, worst

ESCAPE = "\x1b]0;evil\x07"


# Results and exit codes


def test_a_detached_run_prints_the_tasks_id_and_nothing_else(cli, live):
    id = dispatched(cli)
    assert re.fullmatch(r"tsk_\w+", id)
    task = live.do(lambda host: tasks.get(host.db, id))
    assert (task["model"], task["instructions"]) == ("scripted", "Look at it.")


def test_run_uploads_its_inputs_and_passes_what_it_was_told(cli, live, tmp_path):
    (tmp_path / "a.csv").write_text("1")
    answer = cli(
        "run",
        "-",
        "-i",
        "a.csv",
        "-m",
        "scripted",
        "--expect",
        "report, data",
        "--max-runtime",
        "60",
        "--title",
        "T",
        "--no-internet",
        "--allow-host",
        "a.example",
        "--allow-host",
        "*.b.example",
        "--max-cost",
        "1.5",
        "--max-tokens",
        "9000",
        "--detach",
        "--json",
        stdin="Read this.\n",
    )
    task = json.loads(answer.stdout)
    assert task["instructions"] == "Read this.\n" and task["title"] == "T"
    assert task["overrides"] == {
        "model": "scripted",
        "maxRuntimeSeconds": 60,
        "internetAccess": False,
        "maxCostUsd": 1.5,
        "maxTokens": 9000,
        "allowedHosts": ["a.example", "*.b.example"],
        "outputPolicy": {"mode": "named", "files": [{"name": "report"}, {"name": "data"}]},
    }
    rows = live.do(lambda host: db.rows(host.db, "SELECT * FROM task_inputs"))
    assert len(rows) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("run", "x", "-i", "nothing"),
        ("run", "x", "-i", "/dev/null"),
        ("run", " "),
        ("run", "-"),
        ("tasks",),
        ("nonsense",),
        ("credit", "add", "-1"),
        ("images", "build", "nonsense"),
    ],
)
def test_wrong_use_says_so_and_dispatches_nothing(cli, live, words):
    cli(*words, code=Exit.WRONG_USE, stdin="")
    assert live.do(lambda host: db.rows(host.db, "SELECT * FROM tasks")) == []


@pytest.mark.parametrize(
    ("event", "facts", "code"),
    [
        ("finished", {"result": "Done", "completion": "complete"}, Exit.DONE),
        ("finished", {"result": "Half", "completion": "incomplete"}, Exit.TASK_INCOMPLETE),
        ("failed", {"error": "It broke."}, Exit.TASK_FAILED),
        ("cancelled", {}, Exit.TASK_CANCELLED),
    ],
)
def test_the_exit_code_of_run_says_how_the_task_ended(cli, live, event, facts, code, tmp_path):
    def finish() -> None:
        found: list = []
        while not found:
            time.sleep(0.05)
            found = live.do(lambda host: db.rows(host.db, "SELECT id FROM tasks"))
        give(live, found[0]["id"], "report.md")
        end(live, found[0]["id"], event, **facts)

    ending = threading.Thread(target=finish)
    ending.start()
    result = cli("run", "x", "-m", "scripted", "-o", "out", code=code)
    ending.join()
    assert (tmp_path / "out" / "report.md").read_text() == "report.md"
    assert facts.get("result", "") in result.stdout and facts.get("error", "") in result.stderr
    assert ("incomplete" in result.stderr) == (code is Exit.TASK_INCOMPLETE)


def test_a_conversation_does_not_finish_before_what_is_attached_was_sent(cli, live, tmp_path):
    (tmp_path / "plan.txt").write_text("1. Think")
    (tmp_path / "data.csv").write_text("1")
    with Client(live.url, KEY) as client:
        begun = client.create_conversation(AGENT, instructions="Talk.", message="Hi", overrides={"model": "scripted"})
    id = begun.task.id
    live.do(lambda host: tasks.apply(host.db, id, "started", host.now()))
    live.do(lambda host: tasks.end_turn(host.db, id, None, host.now()))

    def answer() -> None:
        while live.do(lambda host: tasks.get(host.db, id))["turn_number"] == 1:
            time.sleep(0.05)
        live.do(lambda host: tasks.apply(host.db, id, "started", host.now()))
        live.do(lambda host: tasks.end_turn(host.db, id, None, host.now()))

    answering = threading.Thread(target=answer, daemon=True)
    answering.start()
    said = "/attach plan.txt\n/finish\nFollow it.\n/attach data.csv\n/quit\n"
    told = " ".join(cli("chat", "--task", id, stdin=said).stderr.split())
    answering.join()
    assert "plan.txt" in told and "Not sent: data.csv" in told
    assert live.do(lambda host: tasks.get(host.db, id))["mode"] == "conversation"
    sent = live.do(
        lambda host: db.rows(
            host.db,
            "SELECT content, filename FROM message_inputs JOIN messages ON messages.id = message_id"
            " JOIN files ON files.id = file_id",
        )
    )
    assert sent == [{"content": "Follow it.", "filename": "plan.txt"}]


def test_json_is_one_document_on_stdout(cli, live):
    id = dispatched(cli)
    give(live, id, "a.txt")
    end(live, id, result="Done")
    assert [task["id"] for task in json.loads(cli("tasks", "list", "--json").stdout)] == [id]
    shown = json.loads(cli("tasks", "show", "last", "--json").stdout)
    assert shown["result"] == "Done" and shown["outputs"][0]["filename"] == "a.txt"
    fetched = json.loads(cli("tasks", "files", id, "-o", "here", "--json").stdout)
    assert Path(fetched[0]["path"]).read_text() == "a.txt"
    lines = [json.loads(line) for line in cli("tasks", "logs", id, "--json").stdout.splitlines()]
    assert lines[0] == {"id": lines[0]["id"], "event": "task.updated", "data": lines[0]["data"]}


def test_a_task_that_is_incomplete_by_the_agents_own_word_is_shown_so(cli, live):
    whole, half = dispatched(cli), dispatched(cli)
    end(live, whole, result="All of it", completion="complete")
    end(live, half, result="Half of it", completion="incomplete")
    lines = cli("tasks", "list", "--status", "finished").stdout.splitlines()
    listed = {id: status for id, status, *_ in map(str.split, lines)}
    assert (listed[whole], listed[half]) == ("finished", "incomplete")
    assert re.search("^status +finished$", cli("tasks", "show", whole).stdout, re.M)
    assert re.search("^status +incomplete$", cli("tasks", "show", half).stdout, re.M)
    assert [task["status"] for task in json.loads(cli("tasks", "list", "--json").stdout)] == ["finished", "finished"]


def test_the_model_calls_of_a_task_are_a_table_or_json(cli, live):
    id = dispatched(cli)
    assert "no model calls" in cli("tasks", "calls", id).stderr
    assert json.loads(cli("tasks", "calls", id, "--json").stdout) == []

    def call(host, used: Told) -> None:
        tasks.settle(host.db, tasks.reserve(host.db, id, worst(), host.now()).number, used, host.now())

    live.do(lambda host: call(host, Told(1200, 340, 5, 6, 12_345, model=f"m{ESCAPE}")))
    live.do(lambda host: call(host, Told(1, 2, cost_microusd=None, counts="worst", status=499)))
    head, first, second = cli("tasks", "calls", "last").stdout.splitlines()
    assert " ".join(head.split()) == "AGE TOOK STATUS MODEL IN CACHED WRITTEN OUT COST"
    assert first.split()[-6:] == ["m\ufffd]0;evil\ufffd", "1.2k", "5", "6", "340", "$0.0123"]
    assert "failed" in second and second.endswith("?~")
    assert [call["inputTokens"] for call in json.loads(cli("tasks", "calls", id, "--json").stdout)] == [1200, 1]


def test_a_refusal_is_words_on_stderr_or_a_json_object_with_an_exit_code(cli):
    result = cli("tasks", "show", "tsk_nobody", code=Exit.NOT_FOUND)
    assert result.stdout == "" and "tsk_nobody" in result.stderr
    result = cli("tasks", "show", "tsk_nobody", "--json", code=Exit.NOT_FOUND)
    assert result.stdout == "" and json.loads(result.stderr)["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "words",
    [
        ("tasks", "list", "--limit", "abc"),
        ("tasks", "show"),
        ("tasks", "list", "--colour"),
        ("agents", "nothing"),
        ("nothing",),
        ("restore", "nowhere.tar.gz", "--data", "x"),
        ("credit", "add", "-5"),
        ("run", "x", "-i", "nowhere"),
        ("run", ""),
    ],
)
def test_wrong_use_is_a_json_object_too(cli, words):
    result = cli(*words, "--json", code=Exit.WRONG_USE)
    assert result.stdout == "" and json.loads(result.stderr)["error"]["code"] == "wrong_use"
    result = cli(*words, code=Exit.WRONG_USE)
    assert result.stdout == "" and not result.stderr.startswith("{")


def test_a_name_that_nothing_has_is_not_found(cli):
    said = json.loads(cli("agents", "show", "nobody", "--json", code=Exit.NOT_FOUND).stderr)
    assert said["error"]["code"] == "not_found"


def test_no_key_and_no_server_have_codes_of_their_own(cli, monkeypatch):
    monkeypatch.delenv("AGENTCONTAINER_API_KEY")
    cli("account", code=Exit.NO_KEY)
    monkeypatch.delenv("AGENTCONTAINER_URL")
    assert "agentcontainer serve" in cli("account", "--data", "nowhere", code=Exit.NO_SERVER).stderr


def test_tasks_are_cancelled_and_woken(cli, live):
    id, other = dispatched(cli), dispatched(cli)
    assert cli("tasks", "cancel", id).stdout == f"{id}  cancelled\n"
    live.do(lambda host: tasks.apply(host.db, other, "started", host.now()))
    until = datetime(2099, 1, 1, tzinfo=UTC)
    live.do(lambda host: tasks.apply(host.db, other, "slept", host.now(), hibernate_until=until))
    assert cli("tasks", "wake", other, "-m", "Go on").stdout == f"{other}  pending\n"
    cli("tasks", "wake", other, code=Exit.FAILED)
    refused = cli("tasks", "cancel", other, "tsk_no", code=Exit.NOT_FOUND)
    assert refused.stdout == f"{other}  cancelled\n"


def test_agents_and_containers_are_made_changed_and_archived(cli, tmp_path):
    container = json.loads(cli("containers", "create", "mine", "--image", "localhost/mine:1", "--json").stdout)
    (tmp_path / "prompt.txt").write_text("Be brief.")
    agent = json.loads(
        cli(
            "agents",
            "create",
            "brief",
            "--prompt",
            "@prompt.txt",
            "-m",
            "scripted",
            "--container",
            container["id"],
            "--json",
        ).stdout
    )
    assert agent["currentVersion"]["basePrompt"] == "Be brief."
    changed = json.loads(
        cli(
            "agents",
            "update",
            agent["id"],
            "--max-runtime",
            "60",
            "--allow-host",
            "a.example",
            "--max-cost",
            "2",
            "--max-tokens",
            "9000",
            "--json",
        ).stdout
    )
    assert changed["currentVersion"]["defaults"]["maxRuntimeSeconds"] == 60
    for line in (r"hosts +a\.example", r"max cost +\$2\.00", r"max tokens +9000", r"isolation +container"):
        assert re.search(line, cli("agents", "show", agent["id"]).stdout), line
    assert changed["currentVersion"]["basePrompt"] == "Be brief."
    assert cli("agents", "versions", agent["id"]).stdout.count("agtv_") == 2
    (tmp_path / "ref.txt").write_text("r")
    cli("agents", "attach", agent["id"], "ref.txt")
    file = json.loads(cli("agents", "files", agent["id"], "--json").stdout)[0]
    cli("agents", "detach", agent["id"], file["id"])
    assert "No files" in cli("agents", "files", agent["id"]).stderr
    forked = json.loads(cli("agents", "fork", AGENT, "--name", "mine", "--json").stdout)
    for id in (agent["id"], forked["id"]):
        cli("agents", "archive", id)
    cli("containers", "update", container["id"], "--image", "localhost/mine:2")
    assert cli("containers", "versions", container["id"]).stdout.count("localhost/mine:") == 2
    assert json.loads(cli("containers", "fork", "ctr_standard_data", "--json").stdout)["name"]
    cli("containers", "archive", container["id"])
    assert "standard" in cli("agents", "archive", AGENT, code=Exit.FAILED).stderr.lower()


def test_an_agent_may_write_to_directories_of_its_image(cli):
    def runtime(*words: str) -> dict:
        return json.loads(cli("agents", *words, "--json").stdout)["runtime"]

    image = {"containerImage": "localhost/mine:1", "agentRuntime": "pi"}
    made = runtime(
        "create",
        "tester",
        "-m",
        "scripted",
        "--image",
        "localhost/mine:1",
        "--writable",
        "/testbed",
        "--writable",
        "/root/.local",
    )
    assert made == {**image, "writablePaths": ["/testbed", "/root/.local"]}
    assert re.search(r"writable +/testbed, /root/\.local", cli("agents", "show", "tester").stdout)
    assert runtime("update", "tester", "--writable", "/srv") == {**image, "writablePaths": ["/srv"]}
    Path("agent.json").write_text(json.dumps({"runtime": image}))
    assert runtime("update", "tester", "-f", "agent.json", "--writable", "/a/b") == {**image, "writablePaths": ["/a/b"]}
    cli("agents", "update", "tester", "--writable", "testbed", code=Exit.WRONG_USE)
    cli("containers", "create", "box", "--image", "localhost/mine:1")
    for words in (
        ("create", "b", "-m", "scripted"),
        ("create", "b", "-m", "scripted", "--container", "box"),
        ("update", "tester", "--container", "box"),
    ):
        cli("agents", *words, "--writable", "/srv", code=Exit.WRONG_USE)


def test_an_agent_may_be_given_as_the_api_has_it(cli):
    defaults = {"model": "m-1", "internetAccess": False, "maxRuntimeSeconds": 5}
    body = {"name": "a", "basePrompt": "p", "defaults": defaults}
    made = json.loads(cli("agents", "create", "-f", "-", "-m", "m-2", "--json", stdin=json.dumps(body)).stdout)
    assert made["currentVersion"]["defaults"]["model"] == "m-2"
    for wrong in (
        "{",
        "[]",
        json.dumps({**body, "colour": "red"}),
        json.dumps({**body, "defaults": {}}),
        json.dumps({**body, "defaults": None}),
        json.dumps({**body, "defaults": "m"}),
    ):
        cli("agents", "create", "-f", "-", code=Exit.WRONG_USE, stdin=wrong)


def test_the_budget_is_shown_set_and_cleared(cli, live):
    assert "no limit" in cli("budget", "show").stdout
    cli("budget", "set", code=Exit.WRONG_USE)
    cli("budget", "set", "--max-cost", "-1", code=Exit.WRONG_USE)
    assert "of $5.00" in cli("budget", "set", "--max-cost", "5").stdout
    found = json.loads(cli("budget", "set", "--max-tokens", "1000", "--json").stdout)
    assert (found["maxCostUsd"], found["maxTokens"]) == (None, 1000)  # in the place of the one before
    assert json.loads(cli("budget", "clear", "--json").stdout)["maxTokens"] is None
    account_id, month = live.do(lambda host: (accounts.only(host.db)["id"], db.iso(host.now())[:7]))
    assert live.do(lambda host: accounts.budget(host.db, account_id, month)["max_tokens"]) is None


def test_account_credit_keys_and_providers(cli):
    assert "unlimited_grant" in cli("account", "--json").stdout
    assert "$12.50" in cli("credit", "add", "12.5").stdout
    assert "grant" in cli("credit", "show").stdout
    key = cli("keys", "create", "phone").stdout
    assert re.fullmatch(r"ac_live_[\w-]+\n", key)
    listed = {key["name"]: key for key in json.loads(cli("keys", "list", "--json").stdout)}
    cli("keys", "revoke", listed["phone"]["id"])
    assert "revoked" in cli("keys", "list").stdout
    assert "sk-1" not in cli("providers", "set", "openai", "--default", stdin="sk-1\n").output
    assert "from the store" in cli("providers", "list").stdout
    cli("providers", "remove", "openai")
    cli("providers", "set", "openai", "--base-url", "nonsense", code=Exit.WRONG_USE, stdin="\n")
    cli("providers", "set", "nobody", code=Exit.NOT_FOUND, stdin="sk-1\n")
    assert "no key on stdin" in cli("providers", "set", "openai", code=Exit.WRONG_USE, stdin="\n").stderr


# The owner of a data directory


def test_the_owner_of_the_data_directory_needs_no_key(cli, live, tmp_path, monkeypatch):
    data, owners = tmp_path / "data", "ac_live_" + "o" * 32
    live.host.owners_key_hash = accounts.key_hash(owners)
    for name in ("AGENTCONTAINER_URL", "AGENTCONTAINER_API_KEY"):
        monkeypatch.delenv(name)
    with lock.held(data) as announce:
        assert lock.holder(data) is None  # it is not ready yet
        announce(lock.Served(live.url, owners))
        assert (data / "lock").stat().st_mode & 0o777 == 0o600
        cli("account", "--data", str(data))
        cli("tasks", "show", "tsk_nobody", "--data", str(data), code=Exit.NOT_FOUND)
        keys = json.loads(cli("keys", "list", "--json", "--data", str(data)).stdout)
        assert [key["name"] for key in keys] == ["first"]
    assert lock.holder(data) is None
    found = [path for path in data.rglob("*") if path.is_file() and b"ac_live_" in path.read_bytes()]
    assert found == []


def test_the_owners_key_of_a_server_that_was_killed_opens_nothing(cli, live, tmp_path, monkeypatch):
    (tmp_path / "data" / "lock").write_text(f"{live.url}\nac_live_{'o' * 32}\n")
    monkeypatch.delenv("AGENTCONTAINER_URL")
    cli("tasks", "wake", "tsk_1", "--data", str(tmp_path / "data"), code=Exit.NO_SERVER)
    monkeypatch.setenv("AGENTCONTAINER_URL", live.url)
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", "ac_live_" + "o" * 32)
    cli("account", code=Exit.NO_KEY)


def test_a_second_server_of_a_data_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.1)
    with lock.held(tmp_path), pytest.raises(RuntimeError, match="Another agentcontainer"), lock.held(tmp_path):
        pass


# Hostile text and names


def test_no_escape_of_an_agents_reaches_the_terminal(cli, live):
    id = cli("run", f"x{ESCAPE}", "--detach", "--model", "scripted").stdout.strip()
    give(live, id, f"a{ESCAPE}.txt")
    end(live, id, result=f"r{ESCAPE}[bold]\u202e")
    for words in (("list",), ("show", id), ("logs", id), ("logs", id, "--json"), ("files", id), ("show", id, "--json")):
        result = cli("tasks", *words)
        assert not re.search("[\x1b\x07\u202e\x9b]", result.output), words
    assert "[bold]" in cli("tasks", "show", id).stdout


NAMES = ("../../etc/passwd", "/etc/passwd", ".bashrc", "..", "-rf", "a\nb", "c:\\x.txt", "x" * 300 + ".csv", "", "~")


def test_an_agents_file_names_stay_in_the_folder_and_over_nothing(cli, live, tmp_path):
    id = dispatched(cli)
    give(live, id, *NAMES, "same.txt", "same.txt", "link")
    out = tmp_path / "out"
    out.mkdir()
    (out / "same.txt").write_text("mine")
    (out / "link").symlink_to(tmp_path / "elsewhere")
    cli("tasks", "files", id, "-o", str(out))
    assert (out / "same.txt").read_text() == "mine" and not (tmp_path / "elsewhere").exists()
    assert {"same-2.txt", "same-3.txt", "link-2", "passwd", "passwd-2", "_.bashrc", "_-rf"} <= set(os.listdir(out))
    assert len(os.listdir(out)) == 2 + len(NAMES) + 3
    assert not any(name.startswith((".", "-")) for name in os.listdir(out))


@given(st.text())
@example("0 \\")
@example("a" * 198 + " " * 2 + "b")
def test_a_safe_name_is_one_plain_part_of_a_path(name):
    safe = folder.safe(name)
    assert safe == Path(safe).name and not safe.startswith((".", "-", "~")) and len(os.fsencode(safe)) <= 200
    assert folder.safe(safe) == safe


@given(st.text())
def test_clean_text_has_no_controls(text):
    assert all(c in "\n\t" or c.isprintable() or ord(c) >= 0xA0 for c in output.clean(text))


# Words


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (123_456, "123 kB"),
        (999_999, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_sizes(count, said):
    assert output.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations(seconds, said):
    assert output.duration(seconds) == said


def test_help_names_every_command_and_every_exit_code(cli):
    shown = cli("--help").stdout
    for word in (
        "run",
        "chat",
        "tasks",
        "agents",
        "containers",
        "images",
        "account",
        "credit",
        "keys",
        "providers",
        "config",
        "serve",
        "install-service",
        *(code.meaning for code in Exit),
    ):
        assert word in shown


def test_every_command_takes_json():
    import typer

    def commands(group, path=()):
        for name, command in group.commands.items():
            if command.hidden:
                continue
            inner = getattr(command, "commands", None)
            yield from commands(command, (*path, name)) if inner else [((*path, name), command)]

    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 40
    assert [path for path in found if "json" not in {parameter.name for parameter in found[path].params}] == []


def test_no_summary_of_a_command_is_cut_off_in_a_terminal_of_80_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for group in (
        [],
        *([name] for name in ("tasks", "agents", "containers", "images", "budget", "credit", "keys", "providers")),
    ):
        summaries = cli(*group, "--help").stdout.partition("Commands:")[2].splitlines()
        assert len(summaries) > 2 and [line for line in summaries if line.endswith("...")] == []


def test_the_help_of_serve_says_what_each_flag_takes_and_what_holds_without_it(cli):
    said = " ".join(cli("serve", "--help").stdout.split())
    assert "--port NUMBER Port to listen on; 0 takes a free one. [AGENTCONTAINER_PORT; by default 3000]" in said
    assert "--data PATH Data directory: " in said and "[AGENTCONTAINER_DATA]" in said
    assert "--isolation container|gvisor" in said


def test_the_doctor_says_whole_what_is_not_as_it_should_be(capsys):
    """The table's last column is cut in a terminal."""
    found = schemas.Doctor(
        ready=True,
        checks=[
            schemas.Check(name="podman", status="ok", detail="is there"),
            schemas.Check(name="cgroups", status="warning", detail="v1, and so on"),
            schemas.Check(name="tun", status="missing", detail="not there", fix="mknod it"),
        ],
        proof=schemas.Proof(
            at="2026-01-01T00:00:00.000Z",
            promises=[
                schemas.WallCheck(name="no secrets", status="enforced", detail="none found"),
                schemas.WallCheck(name="internet", status="unavailable", detail="it is refused"),
            ],
        ),
    )
    doctor._show(output.Output(), found)
    said = capsys.readouterr().out
    for whole in ("\ncgroups: v1, and so on\n", "\ntun: not there\n  mknod it\n", "\ninternet: it is refused\n"):
        assert whole in said
    assert "podman: is there" not in said and "no secrets: none found" not in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(shell):
    environ = {
        **os.environ,
        "_AGENTCONTAINER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "agentcontainer ta",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "agentcontainer ta",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    command = [sys.executable, "-c", "from agentcontainer_local.cli import app; app(prog_name='agentcontainer')"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert "tasks" in said.stdout


def test_config_says_what_is_set_by_what_and_no_secret(cli, monkeypatch):
    monkeypatch.setenv("AGENTCONTAINER_MAX_RUNNING", "7")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = {one["name"]: one for one in json.loads(cli("config", "--json").stdout)}
    assert (found["max-running"]["value"], found["max-running"]["setBy"]) == ("7", "AGENTCONTAINER_MAX_RUNNING")
    assert found["port"]["setBy"] == "default"
    assert KEY not in cli("config").output and "sk-secret" not in cli("config").output
    monkeypatch.setenv("AGENTCONTAINER_PORT", "many")
    cli("config", code=Exit.WRONG_USE)


# The service


def test_the_unit_is_shown_and_nothing_is_written_unasked(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for words in (("--show",), ()):
        shown = cli(
            "install-service", "--flags", "--port 3001 --data '/with space'", *words, code=0 if words else Exit.FAILED
        ).stdout
        assert "KillMode=process" in shown and '--port 3001 --data "/with space"' in shown
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("words", [(), ("--system",)])
def test_the_unit_is_one_that_systemd_understands(cli, tmp_path, words):
    shown = cli("install-service", "--show", *words)
    (tmp_path / "agentcontainer.service").write_text(shown.stdout)
    assert "enable-linger" in shown.stderr
    if Path("/usr/bin/systemd-analyze").exists():
        said = subprocess.run(
            [
                "systemd-analyze",
                *(() if words else ("--user",)),
                "--man=no",
                "verify",
                str(tmp_path / "agentcontainer.service"),
            ],
            capture_output=True,
            text=True,
        )
        wrong = [line for line in said.stderr.splitlines() if "agentcontainer.service" in line]
        assert wrong == []


def test_the_unit_is_there_for_machines_too(cli):
    shown = json.loads(cli("install-service", "--show", "--json").stdout)
    assert shown["written"] is False and "[Service]" in shown["unit"] and shown["path"].endswith(".service")
    assert ["systemctl", "--user", "daemon-reload"] in shown["commands"]


def test_systemd_finds_the_unit_hardened(cli, tmp_path):
    """By its own measure (9.6 is a unit that says nothing), as far as rootless Podman allows: install_service.UNIT."""
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("there is no systemd-analyze here")
    (tmp_path / "agentcontainer.service").write_text(cli("install-service", "--show", "--system").stdout)
    said = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            "--threshold=76",
            "--no-pager",
            str(tmp_path / "agentcontainer.service"),
        ],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("words", [(), ("--system",)])
def test_no_unit_has_anything_for_which_systemd_would_set_no_new_privileges(cli, words):
    """newuidmap is setuid. systemd.exec(5) lists what implies it, for a user's unit and for one with User=."""
    implying = (
        "NoNewPrivileges",
        "LockPersonality",
        "MemoryDenyWriteExecute",
        "PrivateDevices",
        "Protect",
        "Restrict",
        "SystemCall",
        "DynamicUser",
    )
    shown = cli("install-service", "--show", *words).stdout
    assert [line for line in shown.splitlines() if line.startswith(implying)] == []


def test_the_systems_unit_is_shown_before_its_account_exists_and_that_is_made_first(cli, monkeypatch):
    monkeypatch.setenv("AGENTCONTAINER_USER", "nobody-has-this")
    shown = json.loads(cli("install-service", "--show", "--system", "--json").stdout)
    assert "User=nobody-has-this" in shown["unit"] and "user@UID.service" in shown["unit"]
    assert shown["commands"][0][:2] == ["useradd", "--create-home"]
    assert shown["commands"][1] == ["loginctl", "enable-linger", "nobody-has-this"]


def test_words_of_a_unit_are_quoted():
    assert _word("100%") == "100%%" and _word("$HOME") == "$$HOME" and _word('a "b"') == '"a \\"b\\""'
