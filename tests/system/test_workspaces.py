"""The workspace of a failed task: kept for a while, listed and downloaded, whatever an agent made of it."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Server, wait_until
from tests.system.test_cli_system import call, environ
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

LEFT = bash(
    "mkdir -p deep/er; echo kept > deep/er/work.txt; echo '#!/bin/sh' > run.sh; chmod 4755 run.sh",
    "ln -s /etc/passwd passwd; ln -s /etc folder; ln deep/er/work.txt same.txt; mkfifo pipe; touch $'odd\\xff\\n.txt'",
    "truncate -s 20M hole; head -c 300000 /dev/urandom > noise; sha256sum noise | cut -c1-64 > noise.sum",
    finish="",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    keeping = Server(
        tmp_path_factory.mktemp("keeping") / "data", AGENTCONTAINER_FAILED_WORKSPACE_RETENTION_SECONDS="86400"
    )
    keeping.start()
    yield keeping
    keeping.stop()
    keeping.settings.clear()  # from here on nothing is kept
    keeping.start()
    wait_until(lambda: not keeping.things(), 60)
    keeping.stop()


@pytest.fixture(scope="module")
def failed(server: Server) -> dict:
    """A task that was failed by its time limit."""
    work = LEFT.rstrip() + "\n" + bash("echo ready > ready; sleep 600", finish="")
    task = server.dispatch(work, maxRuntimeSeconds=12)
    ended = server.wait(task["id"])
    assert ended["status"] == "failed", ended
    wait_until(lambda: listed(server, task["id"]) is not None, 30)
    return ended


def listed(server: Server, id: str) -> dict[str, dict] | None:
    answer = server.client.get(f"/api/v1/tasks/{id}/workspace", params={"limit": 1000})
    return {e["path"]: e for e in answer.json()["data"]} if answer.status_code == 200 else None


def content(server: Server, id: str, path: str):
    return server.client.get(f"/api/v1/tasks/{id}/workspace/content", params={"path": path})


def test_it_is_listed_with_what_each_entry_is(server: Server, failed: dict):
    found = listed(server, failed["id"])
    kinds = {path: found[path]["type"] for path in found}
    assert {
        "deep/er/work.txt": "file",
        "deep/er": "directory",
        "passwd": "link",
        "folder": "link",
        "pipe": "other",
        "same.txt": "file",
        "run.sh": "file",
        "task/TASK.md": "file",
    }.items() <= kinds.items()
    assert found["noise"]["sizeBytes"] == 300_000 and found["run.sh"]["isExecutable"]
    assert any(path.startswith("odd") for path in found)
    page = server.get(f"/tasks/{failed['id']}/workspace", limit=2)
    rest = server.get(f"/tasks/{failed['id']}/workspace", limit=1000, cursor=page["pageInfo"]["nextCursor"])
    assert [e["path"] for e in page["data"] + rest["data"]] == list(found)


def test_a_file_of_it_is_downloaded_and_nothing_but_a_file_of_it(server: Server, failed: dict):
    id = failed["id"]
    assert content(server, id, "deep/er/work.txt").content == b"kept\n"
    assert content(server, id, "same.txt").content == b"kept\n"
    assert len(content(server, id, "noise").content) == 300_000
    for path in ("passwd", "folder", "folder/passwd", "pipe", "deep", "nothing", "../../etc/passwd", "/etc/passwd"):
        answer = content(server, id, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert content(server, id, "").status_code == 422


def test_all_of_it_is_one_archive_without_traps(server: Server, failed: dict, tmp_path: Path):
    answer = server.client.get(f"/api/v1/tasks/{failed['id']}/workspace/archive")
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        members = {member.name: member for member in archive}
        assert all(m.isreg() or m.isdir() or m.islnk() for m in members.values())
        assert all(m.mode in (0o644, 0o755) and m.uid == 0 and m.uname == "" for m in members.values())
        archive.extractall(tmp_path)
    assert (tmp_path / "same.txt").read_text() == (tmp_path / "deep/er/work.txt").read_text() == "kept\n"
    assert (tmp_path / "hole").stat().st_size == 20 * 1024**2
    summed = subprocess.run(["sha256sum", tmp_path / "noise"], capture_output=True, text=True).stdout[:64]
    assert summed == (tmp_path / "noise.sum").read_text().strip()
    assert not {"passwd", "folder", "pipe"} & members.keys()


def test_the_command_lists_it_and_saves_it(server: Server, failed: dict, tmp_path: Path):
    env = environ(server)
    assert "deep/er/work.txt" in call("tasks", "workspace", failed["id"], env=env, cwd=tmp_path)
    call("tasks", "workspace", failed["id"], "deep/er/work.txt", env=env, cwd=tmp_path)
    assert (tmp_path / "work.txt").read_text() == "kept\n"
    call("tasks", "workspace", failed["id"], "-o", "all.tar", env=env, cwd=tmp_path)
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert archive.extractfile("deep/er/work.txt").read() == b"kept\n"
    call("tasks", "workspace", failed["id"], "-o", "all.tar", env=env, cwd=tmp_path, code=2)


def test_what_is_at_work_or_not_kept_or_not_ones_own_is_not_read(server: Server):
    task = server.dispatch(bash("sleep 600"))
    wait_until(lambda: server.get(f"/tasks/{task['id']}")["status"] == "running", 60)
    path = f"/api/v1/tasks/{task['id']}/workspace"
    assert [server.client.get(path + end).status_code for end in ("", "/archive", "/content?path=a")] == [409] * 3
    server.post(f"/tasks/{task['id']}/cancel", expect=200)
    wait_until(lambda: server.client.get(path).status_code == 404, 30)
    assert server.client.get("/api/v1/tasks/tsk_nobody/workspace").status_code == 404
