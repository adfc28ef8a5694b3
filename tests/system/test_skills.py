"""Skills in a real container, with the internet that is needed to have any."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.test_skills import repository
from tests.system.conftest import Server, standard_image, wait_until
from tests.system.test_main_job import bash

IMAGE = "localhost/agentcontainer-test-skills:1"


@pytest.fixture(scope="module")
def image(server: Server, tmp_path_factory) -> Iterator[str]:
    """The standard image with a git repository in it: walls let no container reach this machine's own addresses."""
    assert server.run(bash("true"))["status"] == "finished"  # from here on the standard image is there
    folder: Path = tmp_path_factory.mktemp("image")
    repository(folder)
    (folder / "gitconfig").write_text("[safe]\n\tdirectory = *\n")  # the agent is not the repository's owner
    (folder / "Containerfile").write_text(
        f"FROM {standard_image()}\nCOPY gitconfig /etc/gitconfig\nCOPY birds.git /srv/birds.git\n"
    )
    subprocess.run(["podman", "build", "-q", "-t", IMAGE, "."], cwd=folder, check=True, capture_output=True)
    yield IMAGE
    remove = ["podman", "rmi", "-f", IMAGE]  # the last task's container may be on its way out
    wait_until(lambda: subprocess.run(remove, check=False, capture_output=True).returncode == 0, 30)


def skilled(server: Server, image: str, skill: str, internet: bool = True) -> str:
    return server.post(
        "/agents",
        {
            "name": "skilled",
            "basePrompt": "Work.",
            "skills": [{"skill": skill}],
            "runtime": {"containerImage": image, "agentRuntime": "pi"},
            "defaults": {"model": "scripted", "internetAccess": internet, "maxRuntimeSeconds": 120},
        },
    )["id"]


def test_a_skill_is_installed_before_pi_starts(server: Server, image: str):
    show = bash("cat /var/lib/agentcontainer/skills/.pi/skills/counting/SKILL.md")
    task = server.dispatch(show, agent=skilled(server, image, "file:///srv/birds.git"), internetAccess=True)
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert "Counts penguins by colony" in server.said(task["id"])


def test_a_tasks_own_skill_is_installed_too(server: Server, image: str):
    agent = server.post(
        "/agents",
        {
            "name": "plain",
            "basePrompt": "Work.",
            "runtime": {"containerImage": image, "agentRuntime": "pi"},
            "defaults": {"model": "scripted", "internetAccess": True, "maxRuntimeSeconds": 120},
        },
    )["id"]
    task = server.post(
        f"/agents/{agent}/tasks",
        {
            "instructions": bash("cat /var/lib/agentcontainer/skills/.pi/skills/counting/SKILL.md"),
            "skills": [{"skill": "file:///srv/birds.git"}],
            "overrides": {"model": "scripted"},
        },
    )
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert "Counts penguins by colony" in server.said(task["id"])
    look = bash("ls /var/lib/agentcontainer/skills/.pi || echo none")
    without = server.wait(server.dispatch(look, agent=agent)["id"])
    assert "none" in server.said(without["id"])


def test_a_skill_that_cannot_be_had_fails_the_task_and_is_named(server: Server, image: str):
    agent = skilled(server, image, "file:///srv/nothing.git")
    task = server.wait(server.dispatch(bash("true"), agent=agent, internetAccess=True)["id"])
    assert task["status"] == "failed"
    assert "The skill file:///srv/nothing.git could not be installed" in task["error"]


def test_without_internet_an_agent_with_skills_takes_no_task(server: Server, image: str):
    agent = skilled(server, image, "file:///srv/birds.git", internet=False)
    answer = server.post(f"/agents/{agent}/tasks", {"instructions": "x", "overrides": {"model": "scripted"}}, 422)
    assert answer["error"]["fields"][0]["field"] == "overrides.internetAccess"
    assert "skills" in answer["error"]["message"]
