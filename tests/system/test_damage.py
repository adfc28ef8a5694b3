"""A damaged data directory: the server starts, says what is lost and how to go on, and so do readyz, doctor, backup."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local.store.secrets import Vault
from tests.system.conftest import SIMULATED, Server, wait_until
from tests.system.test_main_job import bash

FINISHES = bash("echo done", finish="--complete-task --message Done")


def command(server: Server, *words: str) -> subprocess.CompletedProcess:
    env = {**os.environ, **server.settings, "AGENTCONTAINER_DATA": str(server.data)}
    words = [sys.executable, "-m", "agentcontainer_local", *words]
    return subprocess.run(words, capture_output=True, text=True, env=env, timeout=100)


def doctor(server: Server) -> dict[str, dict]:
    done = command(server, "doctor", "--json")
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A stopped server with provider keys of the account and of an agent, whose id comes along."""
    server = Server(tmp_path / "data", **SIMULATED)
    server.start()
    server.client.put("/api/v1/providers/anthropic", json={"apiKey": "sk-ant-one"}).raise_for_status()
    agent = server.post(
        "/agents",
        {
            "name": "Reader",
            "basePrompt": "p",
            "defaults": {
                "model": "claude-sonnet-4-5",
                "provider": "anthropic",
                "providerApiKey": "sk-ant-two",
                "internetAccess": False,
                "maxRuntimeSeconds": 60,
                "outputPolicy": {"mode": "any"},
            },
        },
    )
    server.stop()
    yield server, agent["id"]
    if server.process.poll() is None:
        server.stop()


DAMAGES = {
    "missing": lambda key: key.unlink(),
    "empty": lambda key: key.write_bytes(b""),
    "half-written": lambda key: key.write_bytes(key.read_bytes()[:20]),
    "no text": lambda key: key.write_bytes(os.urandom(44)),
    "a folder": lambda key: (key.unlink(), key.mkdir()),
    "not to be read": lambda key: key.chmod(0),
    "another's": lambda key: (key.unlink(), Vault.open(key)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_its_secret_key_a_server_starts_and_says_which_keys_are_lost(keyed, damage: str, tmp_path: Path):
    server, agent = keyed
    DAMAGES[damage](server.data / "secret.key")
    assert doctor(server)["secret.key"]["status"] == "warning"
    backup = command(server, "backup", str(tmp_path / "b.tar.gz"))
    assert backup.returncode == 0 and "secret.key" in backup.stderr
    server.start()
    wait_until(lambda: "agentcontainer providers set anthropic" in server.log.read_text(), 10)
    assert "Reader" in server.log.read_text() and "Traceback" not in server.log.read_text()
    ready = server.client.get("/readyz")
    assert ready.status_code == 503 and "secret.key" in ready.text and "Reader" not in ready.text
    anthropic = next(one for one in server.get("/providers")["data"] if one["provider"] == "anthropic")
    assert anthropic["hasApiKey"] is False
    assert server.run(FINISHES, agent=agent)["status"] == "finished"
    refused = server.post(f"/agents/{agent}/tasks", {"instructions": "x"}, 422)
    assert refused["error"]["code"] == "provider_key_missing" and "secret.key" in refused["error"]["message"]


def test_a_secret_key_that_is_back_loses_nothing_and_keys_may_be_set_again(keyed):
    server, agent = keyed
    before = (server.data / "secret.key").read_bytes()
    (server.data / "secret.key").unlink()
    server.start()
    server.client.patch(f"/api/v1/agents/{agent}", json={"basePrompt": "q"}).raise_for_status()

    server.stop()
    now = (server.data / "secret.key").read_bytes()
    (server.data / "secret.key").write_bytes(before)
    server.start()  # the key is back: nothing was lost, not even by the patch
    assert server.client.get("/readyz").text == "ok\n"
    server.stop()
    (server.data / "secret.key").write_bytes(now)
    server.start()
    for path, body in ((f"/agents/{agent}", {"defaults": {"providerApiKey": "sk-ant-new"}}),):
        server.client.patch(f"/api/v1{path}", json=body).raise_for_status()
    server.client.put("/api/v1/providers/anthropic", json={"apiKey": "sk-ant-new"}).raise_for_status()
    server.stop()
    server.start()  # the keys were set again
    assert server.client.get("/readyz").text == "ok\n"


def test_a_secret_key_that_can_not_be_read_any_more_is_told_by_a_running_server(keyed, tmp_path: Path):
    server, _ = keyed
    server.start()
    (server.data / "secret.key").chmod(0)
    wait_until(lambda: "secret.key" in server.client.get("/readyz").text, 15)
    assert server.client.get("/readyz").status_code == 503
    assert doctor(server)["secret.key"]["status"] == "warning"
    backup = command(server, "backup", str(tmp_path / "b.tar.gz"))
    assert backup.returncode == 0 and "secret.key" in backup.stderr
    (server.data / "secret.key").chmod(0o600)
    wait_until(lambda: server.client.get("/readyz").text == "ok\n", 15)


def test_a_database_that_can_not_be_read_is_not_said_to_be_damaged(own_simulated: Server):
    own_simulated.stop()
    (own_simulated.data / "agentcontainer.db").chmod(0)
    found = doctor(own_simulated)["database"]
    assert found["status"] == "missing" and "damaged" not in found["detail"] and ".recover" not in (found["fix"] or "")
    refused = command(own_simulated, "serve", "--port", "0")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and "damaged" not in refused.stderr
    (own_simulated.data / "agentcontainer.db").chmod(0o600)
    own_simulated.start()


def test_without_its_secret_key_a_server_that_has_sealed_nothing_is_ready(
    own_simulated: Server,
):
    own_simulated.stop()
    (own_simulated.data / "secret.key").unlink()
    own_simulated.start()
    assert own_simulated.client.get("/readyz").text == "ok\n"


def damage_pages(data: Path, table: str) -> None:
    """Overwrites the table's own pages, as a failing disk does."""
    with contextlib.closing(sqlite3.connect(data / "agentcontainer.db")) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = store.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with (data / "agentcontainer.db").open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize("table", ["files", "model_calls", "activities", "ledger"])
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_a_damaged_page_is_told_by_readyz_doctor_and_backup_and_the_rest_is_served(tmp_path, table: str, running: bool):
    with_containers = table == "files" and not running
    server = Server(tmp_path / "data", **({} if with_containers else SIMULATED))
    server.start()
    try:
        file = server.upload("a.txt", b"a")
        assert server.run(FINISHES)["status"] == "finished"
        if not running:
            server.stop()
        damage_pages(server.data, table)
        if not running:
            server.start()
        wait_until(lambda: "damaged" in server.client.get("/readyz").text, 15)
        assert server.client.get("/readyz").status_code == 503
        assert server.client.get("/healthz").text == "ok\n"
        assert doctor(server)["database"]["status"] == "missing"
        backup = command(server, "backup", str(tmp_path / "b.tar.gz"))
        assert backup.returncode == 1 and "damaged" in backup.stderr and "Traceback" not in backup.stderr
        assert not (tmp_path / "b.tar.gz").exists()
        assert len(server.get("/agents")["data"]) == 3
        if not running and table == "files":
            answer = server.client.get(f"/api/v1/files/{file}")
            assert answer.status_code == 503 and "doctor" in answer.json()["error"]["message"]
            assert (server.data / "files" / file).exists()  # no row can be read: the bytes are not swept away
        if not running:
            assert "damaged" in server.log.read_text() and ".recover" in server.log.read_text()
    finally:
        server.stop()


def test_a_database_without_its_first_page_is_said_to_be_damaged(own_simulated: Server):
    own_simulated.stop()
    whole = (own_simulated.data / "agentcontainer.db").read_bytes()
    (own_simulated.data / "agentcontainer.db").write_bytes(os.urandom(4096) + whole[4096:])
    refused = command(own_simulated, "serve", "--port", "0")
    assert refused.returncode == 1 and "damaged" in refused.stderr and "restore" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert doctor(own_simulated)["database"]["status"] == "missing"
    (own_simulated.data / "agentcontainer.db").write_bytes(whole)
    own_simulated.start()


def test_a_backup_says_which_bytes_are_missing(own_simulated: Server, tmp_path: Path):
    kept, *lost = (own_simulated.upload(f"{n}.txt", b"a") for n in range(4))
    gone, folder, closed = (own_simulated.data / "files" / id for id in lost)
    gone.unlink()
    folder.unlink()
    folder.mkdir()
    closed.chmod(0)
    done = command(own_simulated, "backup", str(tmp_path / "b.tar.gz"), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["files"]) == (0, 1)
    assert all(id in told["warnings"][0] for id in lost) and kept not in told["warnings"][0]


@pytest.mark.parametrize("change", ["missing", "other"])
def test_a_task_whose_input_is_damaged_fails_at_once_and_names_it(server: Server, change: str):
    file = server.upload("numbers.csv", b"1,2,3")
    place = server.data / "files" / file
    place.unlink() if change == "missing" else place.write_bytes(b"3,2,1")
    failed = server.run("Add them up.", files=[file])
    assert failed["status"] == "failed" and "numbers.csv" in failed["error"] and failed["containerMinutes"] < 0.5
    talk = server.converse("Hello", inputFileIds=[file])
    wait_until(lambda: server.transcript(talk["id"])[0]["status"] == "failed", 30)
    assert "numbers.csv" in server.transcript(talk["id"])[0]["error"]
    server.client.post(f"/api/v1/tasks/{talk['id']}/cancel")


def test_a_file_with_the_name_of_anothers_temporary_file_is_not_lost(server: Server):
    names = ["b.csv", ".b.csv.part"]
    files = [server.upload(name, name.encode()) for name in names]
    ended = server.run(
        bash("cd task_files; cat b.csv .b.csv.part > ../both", finish="--complete-task --message Done both"),
        files=files,
    )
    assert server.outputs(ended["id"]) == {"both": b"b.csv.b.csv.part"}


@pytest.mark.parametrize("table", ["accounts", "store"])
def test_a_server_that_cannot_serve_at_all_says_what_is_damaged_and_what_to_do(own_simulated: Server, table: str):
    own_simulated.stop()
    whole = (own_simulated.data / "agentcontainer.db").read_bytes()
    damage_pages(own_simulated.data, table)
    refused = command(own_simulated, "serve", "--port", "0")
    assert refused.returncode == 1 and "damaged" in refused.stderr and "restore" in refused.stderr
    assert "Traceback" not in refused.stderr
    for name in ("agentcontainer.db-wal", "agentcontainer.db-shm"):
        (own_simulated.data / name).unlink(missing_ok=True)
    (own_simulated.data / "agentcontainer.db").write_bytes(whole)
    own_simulated.start()
