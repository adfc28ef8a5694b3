"""What is shown in a real terminal, and that nothing of it comes out of a pipe: bars, the live line, transcripts."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from agentcontainer_local.cli.output import Output
from agentcontainer_local.cli.transcript import Transcript
from tests.terminal import COMMAND, ESCAPE, terminal
from tests.unit.cli.acts import dispatched, end, give

pytestmark = pytest.mark.slow  # each starts the command as a process

SIZE = 30_000_000
BAR = re.compile(r"[━╸╺]{5}")


def shown(*words: str, cwd: Path) -> str:
    """All that a terminal was sent."""
    with terminal(*words, env=dict(os.environ), cwd=cwd) as screen:
        assert screen.ends() == 0, screen.text
        return screen.raw


def piped(*words: str, cwd: Path) -> tuple[str, str]:
    done = subprocess.run([*COMMAND, *words], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert not ESCAPE.search(done.stdout + done.stderr) and not BAR.search(done.stdout + done.stderr)
    return done.stdout, done.stderr


def test_an_upload_has_a_bar_in_a_terminal_and_a_line_in_a_pipe(cli, live, tmp_path):
    (tmp_path / "large.bin").write_bytes(os.urandom(SIZE))
    words = ("run", "x", "-m", "scripted", "-i", "large.bin", "--detach")
    said = shown(*words, cwd=tmp_path)
    assert BAR.search(said) and "30.0/30.0 MB" in said
    out, err = piped(*words, cwd=tmp_path)
    assert re.fullmatch(r"tsk_\w+\n", out) and err == "large.bin  30.0 MB uploaded\n"


def test_a_download_has_a_bar_in_a_terminal_and_a_line_in_a_pipe(cli, live, tmp_path):
    id = dispatched(cli)
    give(live, id, "large.bin", size=SIZE)
    end(live, id)
    said = shown("tasks", "files", id, "-o", "one", cwd=tmp_path)
    assert BAR.search(said) and "30.0/30.0 MB" in said
    assert piped("tasks", "files", id, "-o", "two", cwd=tmp_path) == ("", "two/large.bin  30.0 MB\n")
    assert (tmp_path / "one" / "large.bin").stat().st_size == (tmp_path / "two" / "large.bin").stat().st_size == SIZE


def test_backup_and_restore_have_bars_in_a_terminal_and_a_line_in_a_pipe(cli, live, tmp_path):
    (tmp_path / "large.bin").write_bytes(os.urandom(SIZE))
    cli("run", "x", "-m", "scripted", "-i", "large.bin", "--detach")
    data = str(tmp_path / "data")
    said = shown("backup", "one.tar.gz", "--data", data, cwd=tmp_path)
    assert BAR.search(said) and re.search(r"(\d+\.\d)/\1 MB", said)
    out, err = piped("backup", "two.tar.gz", "--data", data, cwd=tmp_path)
    assert re.fullmatch(r"\S+/two\.tar\.gz  30\.\d MB written: 1 file, and .*\n", out) and err == ""
    said = shown("restore", "one.tar.gz", "--data", "first", cwd=tmp_path)
    assert BAR.search(said) and re.search(r"(\d+\.\d)/\1 MB", said)
    out, err = piped("restore", "two.tar.gz", "--data", "second", "--json", cwd=tmp_path)
    assert '"files": 1' in out and out.count("\n") == 1 and err == ""


def test_tables_have_colours_and_cut_lines_in_a_terminal_alone(cli, live, tmp_path):
    id = cli("run", "many words " * 20, "-m", "scripted", "--detach").stdout.strip()
    end(live, id)
    said = shown("tasks", "list", cwd=tmp_path)
    assert "\x1b[32mfinished" in said and "…" in said
    assert max(len(line) for line in ESCAPE.sub("", said).splitlines()) <= 80
    out, _ = piped("tasks", "list", cwd=tmp_path)
    assert ("many words " * 5).strip() in out


def test_a_fault_is_red_in_a_terminal_alone(cli, live, tmp_path):
    with terminal("tasks", "show", "tsk_x", env=dict(os.environ), cwd=tmp_path) as screen:
        assert screen.ends() == 5 and "\x1b[31magentcontainer: There is no task" in screen.raw


# Transcripts: what is said is shown once, whatever comes when


@pytest.mark.parametrize(
    "told",
    [
        ["First words.", None],  # words, and then their message
        [None],  # the message alone
        ["First ", "words.", None],
        ["First words.Second", None, " ones."],  # words of the next one come before the message
        ["First words.\nSecond", None, " ones."],
    ],
)
def test_what_an_agent_says_is_shown_once(capsys, monkeypatch, told):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = Output()
    transcript = Transcript(out)
    for words in told:
        if words is None:
            transcript.show("message.created", {"id": "m1", "role": "assistant", "content": "First words."})
        else:
            transcript.show("message.delta", {"text": words})
    transcript.show("message.created", {"id": "m2", "role": "assistant", "content": "Second ones."})
    said = ESCAPE.sub("", capsys.readouterr().out).split("\n")
    assert [line for line in said if line.strip()] == ["First words.", "Second ones."]


def test_the_last_lines_of_a_running_command_are_shown_below_until_it_ends(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = Output()
    transcript = Transcript(out)

    def below() -> list[str]:
        out.out.print(transcript._below())
        return [line.strip() for line in ESCAPE.sub("", capsys.readouterr().out).split("\n")]

    lines = "".join(f"line {n}\n" for n in range(20))
    told = {"id": "act_1", "callId": "c", "toolKey": "shell", "text": lines + "\x1b[2Jlast"}
    transcript.show("activity.output", told)
    said = below()
    assert "line 19" in said and "line 1" not in said and any(line.endswith("[2Jlast") for line in said)
    transcript.show("activity.completed", {"id": "act_1", "status": "completed", "output": ""})
    assert "line 19" not in below()
