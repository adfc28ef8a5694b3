"""finish, hibernate and attach as an agent calls them: what they send, what they say, how they exit."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from .door import Door
from .lab import Lab

NOBODY = 65534 if os.geteuid() == 0 else None  # root reads what nobody may; an ordinary account does not
DONE = ("finish", "--complete-task", "--message", "Done")

WRONG_USES = [
    (("finish",), "give one of --complete-task and --incomplete-task"),
    (("finish", "--complete-task", "--incomplete-task", "--message", "x"), "give one of"),
    (("finish", "--complete-task"), "give --message"),
    (("finish", "--complete-task", "--message", "  "), "give --message"),
    (("finish", "--complete-task", "--message"), "argument missing"),
    ((*DONE, "--output", "report.md"), 'NAME=PATH, not "report.md"'),
    ((*DONE, "--output", "=report.md"), "NAME=PATH"),
    ((*DONE, "--output", "report="), "NAME=PATH"),
    ((*DONE, "--colour"), "Unknown option '--colour'"),
    ((*DONE, ""), "a file name is empty"),
    (("attach",), "give at least one file"),
    (("hibernate",), "give one of --for and --until"),
    (("hibernate", "--for", "2h", "--until", "2026-01-01T00:00:00Z"), "give one of --for and --until"),
    (("hibernate", "--for", "2 weeks"), "is no duration"),
    (("hibernate", "--for", "0s"), "is no time to sleep"),
    (("hibernate", "--until", "tomorrow"), "is no time"),
    (("hibernate", "--until", "2026-01-01T00:00:00"), "with Z or an offset"),
    (("hibernate", "--until", "2026-13-01T00:00:00Z"), "is no time"),
    (("hibernate", "--for", "2h", "extra"), "Unexpected argument 'extra'"),
]


@pytest.mark.parametrize(("argv", "words"), WRONG_USES)
async def test_wrong_use_is_explained_and_nothing_is_sent(lab: Lab, door: Door, argv: tuple[str, ...], words: str):
    code, out, err = await lab.command(*argv)
    assert code == 2 and out == ""
    assert words in err and f"Usage: {argv[0]}" in err
    assert not door.deliveries and not door.naps


@pytest.mark.parametrize("name", ["finish", "hibernate", "attach"])
async def test_help_is_on_stdout(lab: Lab, name: str):
    code, out, err = await lab.command(name, "--help")
    assert code == 0 and out.startswith(f"Usage: {name}") and err == ""


@pytest.mark.parametrize(
    "set_by_image",
    [{"here": "/nowhere"}, {"program": "attach"}, {"line": "1", "name": "2"}, {"ENV": "/nowhere"}, {"IFS": "/"}],
)
async def test_no_variable_of_an_image_stops_a_command(lab: Lab, door: Door, set_by_image: dict[str, str]):
    process = await lab.begin(*DONE, **set_by_image)
    assert await process.wait() == 0 and door.accepted[0].begun["kind"] == "finish"


async def test_an_sh_that_is_bash_and_stops_at_errors_runs_a_command(lab: Lab, door: Door):
    finish = f"{lab.root}/agent/bin/finish"
    process = await asyncio.create_subprocess_exec(
        "bash", "--posix", finish, *DONE[1:], env={**lab.env, "SHELLOPTS": "errexit:nounset"}, cwd=lab.workspace
    )
    assert await process.wait() == 0 and door.accepted[0].begun["kind"] == "finish"


async def test_files_and_named_outputs_arrive_whole(lab: Lab, door: Door):
    contents = {"a b.md": b"one", "empty": b"", "big.bin": os.urandom(9_000_000), "-x=y.txt": b"odd"}
    for name, content in contents.items():
        (lab.workspace / name).write_bytes(content)
    (lab.workspace / "link.md").symlink_to("a b.md")
    named = ("--output", "data=big.bin", "--output=eq=-x=y.txt")
    plain = ("a b.md", "empty", "link.md", f"{lab.workspace}/a b.md")
    code, out, err = await lab.command(*DONE, *named, "--", *plain)
    assert (code, err) == (0, "") and "Accepted" in out
    [delivery] = door.accepted
    assert delivery.begun["completion"] == "complete" and delivery.begun["message"] == "Done"
    declared = [(file["filename"], file["outputName"], file["path"]) for file in delivery.begun["files"]]
    assert declared == [
        ("a b.md", None, "a b.md"),
        ("empty", None, "empty"),
        ("link.md", None, "link.md"),
        ("a b.md", None, f"{lab.workspace}/a b.md"),
        ("big.bin", "data", "big.bin"),
        ("-x=y.txt", "eq", "-x=y.txt"),
    ]
    assert list(delivery.files.values()) == [b"one", b"", b"one", b"one", contents["big.bin"], b"odd"]


async def test_paths_are_relative_to_where_the_agent_is(lab: Lab, door: Door):
    (lab.workspace / "sub").mkdir()
    (lab.workspace / "sub" / "a.md").write_bytes(b"there")
    code, _, _ = await lab.command("attach", "a.md", cwd=lab.workspace / "sub")
    assert code == 0 and door.accepted[0].files == {0: b"there"}
    assert door.accepted[0].begun["kind"] == "attach"


async def test_what_cannot_be_sent_is_named_all_at_once_with_why(lab: Lab, door: Door):
    here = lab.workspace
    (here / "directory").mkdir()
    os.mkfifo(here / "directory" / "pipe")
    (here / "good.md").write_text("good")
    (here / "secret.md").write_text("no")
    (here / "secret.md").chmod(0)
    (here / "circle").symlink_to("circle")
    os.mkfifo(here / "fifo", 0o666)
    (here / "fifo").chmod(0o666)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(here / "socket"))
        (here / "socket").chmod(0o666)
        names = ["directory", "fifo", "/dev/zero", "missing.md", "secret.md", "circle", "socket", "good.md/x"]
        code, out, err = await asyncio.wait_for(lab.command(*DONE, "good.md", *names, user=NOBODY), 10)
    assert code == 1 and out == ""
    for name, why in {
        "directory": "neither a file nor a directory",
        "fifo": "a FIFO",
        "/dev/zero": "a device",
        "missing.md": "no such file",
        "secret.md": "permission denied",
        "circle": "lead in a circle",
        "socket": "a socket",
        "good.md/x": "no such file",
    }.items():
        [line] = [line for line in err.splitlines() if f'"{name}"' in line]
        assert why in line
    assert '"good.md"' not in err and not door.deliveries


async def test_a_refusal_of_the_host_is_told_with_exit_code_1(lab: Lab, door: Door):
    (lab.workspace / "a.md").write_text("x")
    for stage, status in [("begin", 422), ("commit", 422), ("begin", 409), ("begin", 413), ("begin", 500)]:
        answer = (status, "Not like that.")
        door.refuse = lambda what, body, stage=stage, answer=answer: answer if what == stage else None
        code, out, err = await lab.command(*DONE, "a.md")
        assert (code, out) == (1, "") and "Not like that." in err
    door.refuse = lambda what, body: (409, "A conversation does not sleep.")
    code, _, err = await lab.command("hibernate", "--for", "2h")
    assert code == 1 and "A conversation does not sleep." in err
    assert not door.accepted and not door.naps


async def test_naps_are_sent_in_seconds_or_as_a_moment(lab: Lab, door: Door):
    for argv in [("--for", "1d2h3m4s"), ("--for", "1.5H", "-m", "why"), ("--until", "2027-01-01T01:00:00+01:00")]:
        assert (await lab.command("hibernate", *argv))[0] == 0
    assert door.naps == [
        {"forSeconds": 93784, "message": None},
        {"forSeconds": 5400, "message": "why"},
        {"untilAt": "2027-01-01T00:00:00.000Z", "message": None},
    ]


async def test_a_command_waits_for_a_host_that_is_away_and_says_so(lab: Lab, door: Door):
    await door.close()
    process = await lab.begin(*DONE)
    said = await asyncio.wait_for(process.stderr.readuntil(b"waiting for it"), 30)
    await asyncio.sleep(1)  # it tries again, and does not say so
    assert process.returncode is None
    await door.open()
    _, rest = await process.communicate()
    assert process.returncode == 0 and len(door.accepted) == 1
    assert (said + rest).count(b"waiting for it") == 1


async def test_a_host_that_restarts_in_the_middle_gets_the_files_from_the_beginning(lab: Lab, door: Door):
    (lab.workspace / "a.bin").write_bytes(os.urandom(1_000_000))
    arrived = asyncio.Event()

    async def hang(request):
        arrived.set()
        await asyncio.sleep(60)

    door.before_answer = hang
    process = await lab.begin(*DONE, "a.bin")
    await arrived.wait()
    await door.close()
    door.before_answer = None
    await door.open()
    assert await process.wait() == 0
    await process.communicate()
    assert door.accepted[0].files == {0: (lab.workspace / "a.bin").read_bytes()}


async def test_an_acceptance_whose_answer_got_lost_counts_once(lab: Lab, door: Door):
    (lab.workspace / "a.md").write_text("x")
    door.lose_commits = 2
    assert (await lab.command("attach", "a.md"))[0] == 0
    assert len(door.accepted) == 1


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
async def test_a_file_that_changes_while_it_is_sent_is_refused(lab: Lab, door: Door, change: str):
    first, second = lab.workspace / "first.bin", lab.workspace / "second.bin"
    for file in (first, second):
        file.write_bytes(b"x" * 2_000_000)

    async def meddle(request):
        if request.match_info["index"] == "0":
            _change(second, change)

    door.before_answer = meddle
    code, _, err = await lab.command(*DONE, "first.bin", "second.bin")
    assert code == 1 and '"second.bin" changed while it was sent' in err
    assert not door.accepted


def _change(file: Path, how: str) -> None:
    with file.open("r+b") as opened:
        if how == "shrink":
            opened.truncate(1000)
        if how == "grow":
            opened.seek(0, os.SEEK_END)
        if how != "shrink":
            opened.write(b"more")


async def test_a_file_removed_or_replaced_meanwhile_is_sent_as_it_was(lab: Lab, door: Door):
    for name in ("first.md", "second.md"):
        (lab.workspace / name).write_text(name)

    async def replace(request):
        if request.match_info["index"] == "0":
            (lab.workspace / "second.md").unlink()
            (lab.workspace / "second.md").symlink_to("/etc/passwd")

    door.before_answer = replace
    assert (await lab.command(*DONE, "first.md", "second.md"))[0] == 0
    assert door.accepted[0].files == {0: b"first.md", 1: b"second.md"}
