"""The command when something is wrong with its streams or with the bytes that it is given: one line, no traceback."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from agentcontainer_local.cli.exits import Exit
from tests.terminal import COMMAND
from tests.unit.cli.acts import dispatched, end, give

pytestmark = pytest.mark.slow  # each starts the command as a process

READS = [("tasks", "list"), ("account", "--json"), ("config",), ("--help",), ("--version",), ("tasks", "logs", "last")]


def shell(line: str, *words: str, **options) -> subprocess.CompletedProcess:
    """`"$@"` in the line is the command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, *words],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        stdin=subprocess.DEVNULL,
        timeout=60,
        **options,
    )


def said_once(done: subprocess.CompletedProcess) -> bool:
    lines = done.stderr.splitlines()
    return len(lines) == 1 and lines[0].startswith("agentcontainer: ")


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_an_stdout_that_cannot_be_written_is_one_line(cli, words):
    dispatched(cli)
    for stream, why in ((">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")):
        done = shell(f'"$@" {stream}', *words)
        assert done.returncode == Exit.FAILED and said_once(done), (stream, done.stderr)
        assert why in done.stderr


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_a_reader_that_has_gone_away_ends_the_command_without_a_word(cli, words):
    dispatched(cli)
    done = shell('"$@" | true; echo ${PIPESTATUS[0]}', *words)
    assert done.stderr == "" and done.stdout in ("0\n", "1\n"), done.stderr


@pytest.mark.parametrize("stream", ["<&- 2>&-", "2> /dev/full"])
@pytest.mark.parametrize("words", READS[:3], ids=" ".join)
def test_the_other_streams_are_not_needed(cli, words, stream):
    dispatched(cli)
    done = shell(f'"$@" {stream}', *words)
    assert done.returncode == Exit.DONE and done.stdout and done.stderr == ""


def test_the_exit_code_is_that_of_the_fault_also_where_stderr_cannot_be_written(cli):
    for stream in ("2>&-", "2> /dev/full"):
        for more in ((), ("--json",)):
            assert shell(f'"$@" {stream}', "tasks", "show", "tsk_nobody", *more).returncode == Exit.NOT_FOUND


def test_no_instructions_come_from_a_closed_stdin(cli):
    done = shell('"$@" <&-', "run", "-m", "scripted")
    assert done.returncode == Exit.WRONG_USE and said_once(done)


def test_a_server_starts_where_stdout_is_closed(cli, tmp_path):
    with subprocess.Popen(
        ["bash", "-c", '"$@" >&-', "bash", *COMMAND, "serve", "--port", "many"], stderr=subprocess.PIPE, text=True
    ) as server:
        said = server.communicate(timeout=60)[1]
    assert server.returncode == Exit.WRONG_USE and "--port" in said


# Bytes that are not UTF-8

BAD = os.fsdecode(b"bad\xff.csv")


def test_a_file_whose_name_is_not_utf8_is_uploaded_and_shown(cli, tmp_path):
    (tmp_path / BAD).write_text("1")
    done = shell('"$@"', "run", "Look.", "-m", "scripted", "-i", BAD, "--detach", cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    id = done.stdout.strip()
    assert "bad\ufffd.csv" in cli("agents", "attach", _agent(cli), BAD).output
    for words in (("-o", BAD), ("-o", f"{BAD}/below")):
        assert shell('"$@"', "tasks", "files", id, *words, cwd=tmp_path).stderr.count("\n") == 1


def _agent(cli) -> str:
    return json.loads(cli("agents", "create", "mine", "-m", "scripted", "--json").stdout)["id"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "\udcff", "-m", "scripted", "--detach"),
        ("run", "x", "-m", "\udcff", "--detach"),
        ("run", "x", "-i", "\udcff"),
        ("run", "x", "-a", "\udcff"),
        ("tasks", "show", "\udcff"),
        ("tasks", "show", "tsk_\udcff"),
        ("keys", "create", "\udcff"),
        ("agents", "create", "\udcff", "-m", "m"),
        ("agents", "create", "-f", "bad"),
        ("agents", "create", "a", "-m", "m", "--prompt", "@bad"),
        ("agents", "create", "a", "-m", "m", "--prompt", "@none"),
        ("account", "--url", "http://\udcff"),
        ("images", "build", "\udcff"),
        ("tasks", "list", "--status", "\udcff"),
        ("restore", "bad", "--data", "new"),
    ],
    ids=lambda words: ascii(" ".join(words)),
)
def test_bytes_that_are_not_utf8_are_one_line(cli, tmp_path, words):
    (tmp_path / "bad").write_bytes(b"\xff\xfe{")
    done = shell('"$@"', *words, cwd=tmp_path)
    assert done.returncode not in (0, -signal.SIGABRT) and "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 4 and "\udcff" not in done.stderr, done.stderr


def test_instructions_that_are_not_utf8_are_refused(cli, tmp_path):
    (tmp_path / "bad").write_bytes(b"Look at \xff.")
    done = shell('"$@" < bad', "run", "-", "-m", "scripted", "--detach", cwd=tmp_path)
    assert done.returncode == Exit.WRONG_USE or done.stdout.startswith("tsk_")
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(cli, live, tmp_path):
    (tmp_path / "zero.txt").write_text("")
    (tmp_path / "ro").mkdir(mode=0o500)
    for folder in ("zero.txt", "zero.txt/x", "ro", "ro/x", "ro/x/y"):
        said = cli("run", "Look.", "-m", "scripted", "-o", folder, code=Exit.WRONG_USE).stderr
        assert said.count("\n") == 1 and "--output" in said
    assert cli("tasks", "list", "--json").stdout.strip() == "[]"
    id = dispatched(cli)
    give(live, id, "a.txt")
    end(live, id)
    cli("tasks", "files", id, "-o", "ro/x", code=Exit.WRONG_USE)


def test_where_the_files_cannot_be_written_after_all_the_result_is_shown_and_how_to_get_them(cli, live, tmp_path):
    """The folder was there when it was looked at."""
    import threading
    import time

    (tmp_path / "out").mkdir()

    def finish() -> None:
        from agentcontainer_local.store import db

        found: list = []
        while not found:
            time.sleep(0.02)
            found = live.do(lambda host: db.rows(host.db, "SELECT id FROM tasks"))
        (tmp_path / "out").rmdir()
        (tmp_path / "out").write_text("")
        give(live, found[0]["id"], "report.md")
        end(live, found[0]["id"], result="It is done.")

    ending = threading.Thread(target=finish)
    ending.start()
    result = cli("run", "Look.", "-m", "scripted", "-o", "out", code=Exit.FAILED)
    ending.join()
    assert "It is done." in result.stdout
    last = result.stderr.splitlines()[-1]
    id = last.split("agentcontainer tasks files ")[1].split()[0]
    cli("tasks", "files", id, "-o", "elsewhere")
    assert Path("elsewhere/report.md").read_text() == "report.md"


def test_a_task_without_files_says_so(cli, live):
    id = dispatched(cli)
    end(live, id)
    assert "no files" in cli("tasks", "files", id).stderr and "no files" in cli("tasks", "files", id, "-o", "o").stderr
    assert not Path("o").exists()
