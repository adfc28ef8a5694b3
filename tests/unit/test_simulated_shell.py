"""The simulated shell: what it understands, what it leaves out, and that no path leads out of a task's folder."""

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.simulated.files import FileProblem, Kept, unpack
from agentcontainer_local.sandbox.simulated.shell import Ran, Shell


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path / "task")
    kept.begin({})
    return kept


@pytest.fixture
def shell(kept: Kept) -> Shell:
    async def finish(arguments: list[str]) -> Ran:
        return Ran("|".join(arguments) + "\n", ends="--accept" in arguments)

    return Shell(kept, {"finish": finish}, asyncio.sleep)


@pytest.mark.parametrize(
    ("block", "output", "code"),
    [
        ("echo a b", "a b\n", 0),
        ("echo -n a; echo 'b  c' \"d\"", "ab  c d\n", 0),
        ("printf 'a\\n%s\\n' b", "a\nb\n", 0),
        ("true && echo yes || echo no", "yes\n", 0),
        ("false && echo yes || echo no", "no\n", 0),
        ("false; echo $?", "1\n", 0),
        ("echo a > f; echo b >> f; cat f", "a\nb\n", 0),
        ("cat > f <<'EOF'\nx; $y && z\nEOF\ncat < f", "x; $y && z\n", 0),
        ("cat nothing 2>&1; echo $?", "cat: nothing: there is no such file\n1\n", 0),
        ("touch f && cat f && rm f && cat f", "cat: f: there is no such file\n", 1),
        ("rm -f nothing && echo fine", "fine\n", 0),
        ("exit 3; echo never", "", 3),
        ("echo one \\\n two", "one two\n", 0),
        ("pwd; echo $HOME", "/workspace\n/workspace\n", 0),
        ("# a comment\necho a#b", "a#b\n", 0),
        ("finish --message 'a; b' x || echo no", "--message|a; b|x\n", 0),
        ("finish --accept; echo never", "--accept\n", 0),
        ("echo 'open", "bash: syntax error: No closing quotation\n", 2),
        ("sleep x", "sleep: invalid time interval x\n", 1),
    ],
)
async def test_simple_commands_are_understood(shell: Shell, block: str, output: str, code: int):
    ran = await shell.run(block)
    assert (ran.output, ran.code) == (output, code)


async def test_a_command_that_is_not_known_is_not_run_and_the_output_says_so(shell: Shell, kept: Kept):
    ran = await shell.run("python3 x.py > out.txt; echo on; ls | wc -l")
    assert (ran.output, ran.code) == ("on\n[simulated: not run: python3, ls, wc]\n", 0)
    assert kept.read("out.txt") == b"[simulated]\n"


async def test_comments_say_what_an_unknown_command_would_have_done(shell: Shell, kept: Kept):
    said = "# simulated output: 6\n# simulated output: done\n# simulated file s.txt: 6\n# simulated file s.txt: 7\n"
    assert await shell.run(f"echo first; python3 x.py; echo last\n{said}") == Ran("first\n6\ndone\nlast\n")
    assert kept.read("s.txt") == b"6\n7\n"
    assert (await shell.run("make || echo failed $?\n# simulated exit: 2")).output == "failed 2\n"


async def test_the_agents_own_program_can_be_killed(shell: Shell):
    assert (await shell.run("kill -9 $PPID; sleep 30")).died == "Pi ended with signal SIGKILL."
    assert (await shell.run("kill 4711")).code == 1


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "~/../../x", "a/../../../x", "/workspace/../../../x", "/"])
def test_no_name_leads_out_of_the_tasks_folder(kept: Kept, name: str):
    assert kept.path(name).resolve().is_relative_to(kept.folder.resolve())


@pytest.mark.parametrize(
    ("name", "place"),
    [("a.txt", "a.txt"), ("~/a.txt", "a.txt"), ("/workspace/b/a.txt", "b/a.txt"), ("./b/../a.txt", "a.txt")],
)
def test_the_ways_to_write_a_path_in_the_workspace(kept: Kept, name: str, place: str):
    assert kept.path(name) == kept.folder / "workspace" / place


def test_what_is_no_name_of_a_file_is_refused(kept: Kept):
    for name in ("", "a\0b"):
        with pytest.raises(FileProblem):
            kept.path(name)
    with pytest.raises(FileProblem):
        kept.write("x" * 300, b"")


def test_an_archive_with_a_link_or_a_way_out_is_not_unpacked(tmp_path: Path):
    for name, kind in (("../x", tarfile.REGTYPE), ("/x", tarfile.REGTYPE), ("x", tarfile.SYMTYPE)):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        made.seek(0)
        with pytest.raises(FileProblem):
            unpack(made, tmp_path / f"to-{kind!r}-{name.count('.')}")
    assert not (tmp_path / "x").exists()
