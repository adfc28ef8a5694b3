"""An agent's skills: fetched with the real `skills` command from a git repository that the test serves."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import free_port
from .door import Door
from .lab import Lab
from .wire import Say

SKILL = """---
name: counting
description: Counts penguins by colony. Use it whenever penguins are counted.
---
# Counting
Each bird once.
"""


def repository(folder: Path) -> Path:
    """A bare git repository with one skill."""
    work, bare = folder / "work", folder / "birds.git"
    (work / "skills/counting").mkdir(parents=True)
    (work / "skills/counting/SKILL.md").write_text(SKILL)
    for words in (
        ["init", "-q", "-b", "main", work],
        ["-C", work, "add", "-A"],
        ["-C", work, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "A skill"],
        ["clone", "-q", "--bare", work, bare],
    ):
        subprocess.run(["git", *map(str, words)], check=True)
    return bare


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Its address, and how often something was asked for."""
    port, log = free_port(), folder / "daemon.log"
    command = [
        "git",
        "daemon",
        "--verbose",
        "--export-all",
        "--listen=127.0.0.1",
        f"--port={port}",
        f"--base-path={folder}",
        str(folder),
    ]
    with log.open("wb") as written, subprocess.Popen(command, stderr=written, process_group=0) as daemon:
        while b"Ready to rumble" not in log.read_bytes():
            time.sleep(0.01)
        yield f"git://127.0.0.1:{port}", lambda: log.read_bytes().count(b"Request upload-pack")
        os.killpg(daemon.pid, signal.SIGTERM)  # `git` has started the daemon as its child


def with_skills(lab: Lab, *skills: str) -> None:
    lab.launch()
    path = lab.run_dir / "launch.json"
    launch = json.loads(path.read_text())
    argv = [*launch["argv"], "--skill", f"{lab.state}/skills/.pi/skills"]
    path.write_text(json.dumps({**launch, "argv": argv, "skills": skills}))


async def test_pi_is_told_of_a_skill_from_a_git_repository(lab: Lab, door: Door, tmp_path: Path):
    repository(tmp_path)
    with served(tmp_path) as (address, asked):
        with_skills(lab, f"{address}/birds.git")
        door.answers = [Say("counted"), Say("again")]
        await lab.start()
        door.prompt("How many penguins?")
        await door.heard("settled")
        prompt = json.dumps(door.asked[0].body)
        assert "Counts penguins by colony" in prompt
        assert f"{lab.state}/skills/.pi/skills/counting/SKILL.md" in prompt
        assert asked() == 1
        assert list(lab.workspace.iterdir()) == []

        await lab.kill()
        await lab.start()
        door.prompt("And now?", id="turn-2")
        await door.heard("settled", 2)
        assert asked() == 1, "what is installed is not fetched again"
        assert "Counts penguins by colony" in json.dumps(door.asked[1].body)


async def test_a_skill_that_cannot_be_had_is_an_error_that_names_it(lab: Lab, door: Door, tmp_path: Path):
    with served(tmp_path) as (address, _):
        with_skills(lab, f"{address}/nothing.git")
        daemon = await lab.start()
        failed = await door.heard("pi_failed")
        assert f"The skill {address}/nothing.git could not be installed: " in failed["message"]
        assert "access denied or repository not exported" in failed["message"]
        assert await daemon.wait() == 1
    assert door.asked == []
