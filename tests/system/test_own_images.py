"""Images of a user's own: what they set and contain is for the agent, and does not keep our programs from working."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Server, podman
from tests.system.test_main_job import bash

NAME = "localhost/agentcontainer-tests-own"
# What would end or mislead Node, Pi and libc if it were theirs.
HARMFUL = {
    "OPENSSL_CONF": "/broken.cnf", "NODE_UNIQUE_ID": "", "NODE_OPTIONS": "--no-such-option", "NODE_CHANNEL_FD": "99",
    "LD_LIBRARY_PATH": "/nowhere", "TMPDIR": "/nowhere", "PI_CODING_AGENT_DIR": "/nowhere", "AC_RUN_DIR": "/nowhere",
    "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "HOME": "/root",
}


@pytest.fixture(scope="module")
def built(server: Server, tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Makes an image of the standard one with further lines; answers its name."""
    server.run(bash("true"))                # the standard image is here from now on
    base = podman("images", "--quiet", "--filter", "reference=localhost/agentcontainer-coding").split()[0]
    made = []

    def build(lines: str) -> str:
        folder: Path = tmp_path_factory.mktemp("image")
        made.append(f"{NAME}:{len(made)}")
        (folder / "Containerfile").write_text(f"FROM {base}\n{lines}\n")
        subprocess.run(["podman", "build", "-q", "-t", made[-1], "."], cwd=folder, check=True, capture_output=True)
        return made[-1]

    yield build
    subprocess.run(["podman", "rmi", "-f", *made], check=False, capture_output=True)


def agent(server: Server, image: str, **more) -> str:
    return server.post("/agents", {
        "name": "own", "basePrompt": "Work.", "runtime": {"containerImage": image, "agentRuntime": "pi", **more},
        "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 120},
    })["id"]


def test_the_variables_of_an_image_reach_the_agents_commands_and_not_our_programs(server: Server, built):
    lines = [f"ENV {name}={json.dumps(value)}" for name, value in {**HARMFUL, "MINE": "one two"}.items()]
    image = built("\n".join(["RUN echo 'openssl_conf = nowhere' > /broken.cnf", *lines]))
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    work = bash(f"python3 -c '{show}' > env.json", "head -c 70000 /dev/zero | tr '\\0' x; echo END",
                "finish --complete-task --message Done env.json")
    task = server.run(work, agent=agent(server, image))
    assert task["status"] == "finished", task["error"]
    seen = json.loads(server.outputs(task["id"])["env.json"])
    ours = {"HOME": "/workspace", "PI_CODING_AGENT_DIR": "/var/lib/agentcontainer/pi"}
    assert {name: seen.get(name) for name in HARMFUL} == {**HARMFUL, **ours, "AC_RUN_DIR": None}
    assert seen["MINE"] == "one two"
    assert "END" in server.said(task["id"])
