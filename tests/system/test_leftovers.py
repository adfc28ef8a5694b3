"""`agentcontainer leftovers`, in a container storage of the test's own."""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentcontainer_local.process import account_registry, file_lock
from agentcontainer_local.sandbox.podman import builds
from agentcontainer_local.sandbox.podman.uids import Uids
from agentcontainer_local.store import db, identity
from tests.system.storage import elsewhere, podman
from tests.system.test_cli_system import call

__all__ = ["elsewhere"]
pytestmark = pytest.mark.podman

Store = Callable[..., str]


@pytest.fixture
def store(elsewhere, tmp_path: Path) -> Iterator[Store]:
    """Makes a store with what it has in Podman, a container and a volume, and a run directory. Answers its id."""
    empty = subprocess.run(["tar", "-c", "--files-from=/dev/null"], capture_output=True, check=True).stdout
    podman(elsewhere, "import", "-", "localhost/nothing:1", stdin=empty)
    made = []

    def make(name: str, served: bool = True) -> str:
        made.append(store_id := db.new_id("str"))
        (data := tmp_path / name).mkdir()
        opened = db.open(data / "agentcontainer.db")
        opened.conn.execute("INSERT INTO store VALUES (?, 'now')", (store_id,))
        opened.close()
        if served:
            identity.claim(store_id, data)
        labels = f"--label=agentcontainer.store={store_id}", "--label=agentcontainer.task=tsk_1"
        podman(elsewhere, "volume", "create", *labels, f"{name}-work")
        volume = f"{name}-work:/work"
        podman(elsewhere, "create", *labels, "--name", name, "--volume", volume, "localhost/nothing:1", "true")
        directory(elsewhere, store_id).mkdir(parents=True)
        return store_id

    yield make
    for store_id in made:
        identity.forget(store_id)


def directory(env: dict[str, str], store_id: str) -> Path:
    return Path(env["XDG_RUNTIME_DIR"], "agentcontainer", store_id.removeprefix("str_")[:10])


def leftovers(*words: str, env: dict[str, str], cwd: Path, code: int = 0) -> str:
    return call("leftovers", *words, env=env, cwd=cwd, code=code)


def listed(env: dict[str, str], cwd: Path) -> list[dict]:
    return json.loads(leftovers("list", "--json", env=env, cwd=cwd))["stores"]


def names(env: dict[str, str]) -> tuple[set[str], set[str]]:
    """Of all containers and of all volumes."""
    containers = podman(env, "ps", "--all", "--format", "{{.Names}}").split()
    return set(containers), set(podman(env, "volume", "ls", "--quiet").split())


def test_what_deleted_stores_have_left_is_removed_and_nothing_else(
    elsewhere, store: Store, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("HOME", elsewhere["HOME"])  # a uid is claimed for a storage
    here, gone, unknown = store("here"), store("gone"), store("unknown", served=False)
    Uids().claim(f"{gone}.tsk_1")
    podman(elsewhere, "create", "--name", "mine", "--volume", "mine:/work", "localhost/nothing:1", "true")
    shutil.rmtree(data := tmp_path / "gone")
    by_store = {one["store"]: one for one in listed(elsewhere, tmp_path)}
    assert here not in by_store
    assert by_store[gone] | {"ageSeconds": 0, "sizeBytes": 0} == {
        "store": gone,
        "state": "deleted",
        "reason": None,
        "dataDirectory": str(data),
        "ageSeconds": 0,
        "containers": 1,
        "volumes": 1,
        "runDirectories": 1,
        "sizeBytes": 0,
    }
    assert by_store[gone]["sizeBytes"] > 0
    assert (by_store[unknown]["state"], by_store[unknown]["dataDirectory"]) == ("unknown", None)

    leftovers("remove", "--json", env=elsewhere, cwd=tmp_path, code=1)  # it asks, and nobody answers
    everything = {"here", "unknown", "mine"}
    assert names(elsewhere) == ({*everything, "gone"}, {"here-work", "unknown-work", "gone-work", "mine"})
    removed = json.loads(leftovers("remove", "--yes", "--json", env=elsewhere, cwd=tmp_path))
    assert [one["store"] for one in removed["stores"]] == [gone]
    assert names(elsewhere) == (everything, {"here-work", "unknown-work", "mine"})
    assert not directory(elsewhere, gone).exists() and directory(elsewhere, here).exists()
    assert gone not in identity.known()
    assert not any(gone in owner for _, owner in account_registry.of_account("uids").entries())

    leftovers("remove", unknown, "--yes", env=elsewhere, cwd=tmp_path)
    assert names(elsewhere) == ({"here", "mine"}, {"here-work", "mine"})
    leftovers("remove", here, "--yes", env=elsewhere, cwd=tmp_path, code=5)
    assert listed(elsewhere, tmp_path) == []


def test_a_run_directory_of_a_store_that_is_gone_is_removed_whatever_is_known_of_it(
    elsewhere, store: Store, tmp_path: Path
):
    only = store("only")
    podman(elsewhere, "rm", "only")
    podman(elsewhere, "volume", "rm", "only-work")
    assert listed(elsewhere, tmp_path) == []
    shutil.rmtree(tmp_path / "only")
    account_registry.of_account("disks").remove(only)  # as an earlier version left it
    (found,) = listed(elsewhere, tmp_path)
    assert (found["state"], found["volumes"], found["runDirectories"]) == ("unknown", 0, 1)
    leftovers("remove", "--yes", env=elsewhere, cwd=tmp_path)
    assert not directory(elsewhere, only).exists()


def test_a_store_whose_server_is_still_running_is_left_alone(elsewhere, store: Store, tmp_path: Path):
    served = store("served")
    shutil.rmtree(tmp_path / "served")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory(elsewhere, served) / "podman.sock"))
        listening.listen()
        (found,) = listed(elsewhere, tmp_path)
        assert (found["store"], found["state"]) == (served, "in use")
        leftovers("remove", "--yes", env=elsewhere, cwd=tmp_path)
        leftovers("remove", served, "--yes", env=elsewhere, cwd=tmp_path, code=1)
        assert names(elsewhere) == ({"served"}, {"served-work"})
    leftovers("remove", "--yes", env=elsewhere, cwd=tmp_path)
    assert names(elsewhere) == (set(), set())


def test_the_doctor_mentions_them(elsewhere, store: Store, tmp_path: Path):
    def row() -> dict:
        checks = json.loads(call("doctor", "--json", env=elsewhere, cwd=tmp_path))["checks"]
        return next(check for check in checks if check["name"] == "leftovers")

    store("gone")
    assert row()["status"] == "ok"
    shutil.rmtree(tmp_path / "gone")
    assert (row()["status"], row()["fix"]) == ("warning", "agentcontainer leftovers remove")
    leftovers("remove", "--yes", env=elsewhere, cwd=tmp_path)
    assert row()["status"] == "ok"


def test_what_an_interrupted_image_build_has_left_is_listed(elsewhere, tmp_path: Path):
    left = Path(tempfile.mkdtemp(prefix=builds.PREFIX, dir=builds.BENCHES))
    (left / "file").touch()
    with builds_lock(busy := Path(tempfile.mkdtemp(prefix=builds.PREFIX, dir=builds.BENCHES))):
        said = json.loads(leftovers("list", "--json", env=elsewhere, cwd=tmp_path))["builds"]
        assert str(left) in said and str(busy) not in said
        assert str(left) in leftovers("list", env=elsewhere, cwd=tmp_path)
        removed = json.loads(leftovers("remove", "--yes", "--json", env=elsewhere, cwd=tmp_path))["builds"]
        assert str(left) in removed and not left.exists() and busy.exists()
    shutil.rmtree(busy)


@contextlib.contextmanager
def builds_lock(folder: Path) -> Iterator[None]:
    """As a build that is under way holds it."""
    with (folder / "lock").open("w") as lock:
        file_lock.wait(lock)
        yield
