"""Images of a user's own: what they set and contain is for the agent, and does not keep our programs from working."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Server, standard_image
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

NAME = "localhost/agentcontainer-tests-own"
# What would end or mislead Node, Pi and libc if it were theirs.
HARMFUL = {
    "OPENSSL_CONF": "/broken.cnf",
    "NODE_UNIQUE_ID": "",
    "NODE_OPTIONS": "--no-such-option",
    "NODE_CHANNEL_FD": "99",
    "LD_LIBRARY_PATH": "/nowhere",
    "TMPDIR": "/nowhere",
    "PI_CODING_AGENT_DIR": "/nowhere",
    "AC_RUN_DIR": "/nowhere",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "HOME": "/root",
}


@pytest.fixture(scope="module")
def built(server: Server, tmp_path_factory) -> Iterator[Callable[[str], str]]:
    """Makes an image of the standard one with further lines; answers its name."""
    server.run(bash("true"))  # the standard image is here from now on
    base = standard_image()
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
    return server.post(
        "/agents",
        {
            "name": "own",
            "basePrompt": "Work.",
            "runtime": {"containerImage": image, "agentRuntime": "pi", **more},
            "defaults": {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 120},
        },
    )["id"]


def test_the_variables_of_an_image_reach_the_agents_commands_and_not_our_programs(server: Server, built):
    lines = [f"ENV {name}={json.dumps(value)}" for name, value in {**HARMFUL, "MINE": "one two"}.items()]
    image = built("\n".join(["RUN echo 'openssl_conf = nowhere' > /broken.cnf", *lines]))
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    work = bash(
        f"python3 -c '{show}' > env.json",
        "head -c 70000 /dev/zero | tr '\\0' x; echo END",
        "finish --complete-task --message Done env.json",
    )
    task = server.run(work, agent=agent(server, image))
    assert task["status"] == "finished", task["error"]
    seen = json.loads(server.outputs(task["id"])["env.json"])
    ours = {"HOME": "/workspace", "PI_CODING_AGENT_DIR": "/var/lib/agentcontainer/pi"}
    assert {name: seen.get(name) for name in HARMFUL} == {**HARMFUL, **ours, "AC_RUN_DIR": None}
    assert seen["MINE"] == "one two"
    assert "END" in server.said(task["id"])


OWNED_BY_ROOT = """RUN mkdir -p /testbed/pkg /root/.local/bin /elsewhere /opt/conda && cd /testbed && git init -q . \\
 && echo 1 > pkg/a.py && ln -s /elsewhere out && printf '#!/bin/sh\\necho a tool\\n' > /root/.local/bin/tool \\
 && chmod 755 /root/.local/bin/tool && chmod 700 /root /testbed/pkg && chmod 600 pkg/a.py
ENV MINE=kept OPENSSL_CONF=/nowhere NODE_OPTIONS=--no-such-option PATH=/root/.local/bin:/usr/local/bin:/usr/bin:/bin"""
TRY = (
    "cd /testbed && echo 2 >> pkg/a.py && touch pkg/new && git add -A"
    " && git -c user.name=a -c user.email=a@b commit -qm x",
    "tool && echo $MINE $PATH && touch /root/.local/new && python3 -c 'import os; print(os.getuid() >= 20000)'",
    "touch /elsewhere/new || echo refused; touch /opt/conda/new || echo refused; ls /root 2>/dev/null || echo hidden",
    "grep -E '^Cap(Eff|Prm|Bnd):' /proc/self/status | sort -u -k2; grep NoNewPrivs /proc/self/status",
)


def test_declared_directories_of_an_image_are_writable_and_the_walls_stay(server: Server, built):
    image = built(OWNED_BY_ROOT)
    own = agent(server, image, writablePaths=["/testbed", "/root/.local"])
    assert server.get(f"/agents/{own}")["runtime"]["writablePaths"] == ["/testbed", "/root/.local"]
    task = server.run(bash(*TRY, finish="--complete-task --message Done /testbed/pkg/a.py"), agent=own)
    said = server.said(task["id"])
    assert task["status"] == "finished", (task["error"], said)
    assert server.outputs(task["id"])["a.py"] == b"1\n2\n"
    assert "a tool\nkept /opt/agentcontainer/bin:/root/.local/bin:/usr/local/bin" in said and "True" in said
    assert said.count("refused") == 2 and "hidden" in said
    assert set(re.findall(r"Cap\w+:\s*(\w+)", said)) == {"0" * 16} and "NoNewPrivs:\t1" in said
    plain = server.run(
        bash("touch /testbed/new || echo refused", finish="--complete-task -m Done"), agent=agent(server, image)
    )
    assert "refused" in server.said(plain["id"])


def test_a_directory_that_the_image_lacks_fails_the_task_and_is_named(server: Server, built):
    image = built("RUN ln -s /proc /elsewhere")
    for path in ("/nowhere", "/elsewhere"):
        task = server.run(bash("true"), agent=agent(server, image, writablePaths=[path]))
        assert task["status"] == "failed" and path in task["error"], task["error"]
