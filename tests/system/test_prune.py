"""`agentcontainer images prune`, in a container storage of the test's own: the account's has what others need."""

import json
import subprocess
from pathlib import Path

import pytest

from agentcontainer_local.process import account_registry
from agentcontainer_local.sandbox.podman import standard_images, writable_images
from agentcontainer_local.store import db, identity
from tests.system.storage import elsewhere, podman
from tests.system.test_cli_system import call

__all__ = ["elsewhere"]
pytestmark = pytest.mark.podman


def test_images_of_earlier_versions_are_removed_unless_a_container_uses_them(elsewhere, tmp_path: Path):
    empty = subprocess.run(["tar", "-c", "--files-from=/dev/null"], capture_output=True, check=True).stdout

    def made(tag: str, *labels: str) -> str:
        """An image of nothing but its labels, which make it another one."""
        changes = [f"--change=LABEL={label}" for label in labels]
        podman(elsewhere, "import", *changes, "-", tag, stdin=empty)
        return tag

    def ours(name: str, tag: str) -> str:
        return made(f"localhost/agentcontainer-{name}:{tag}", f"{standard_images.LABEL}={name}", f"made={tag}")

    current = {
        standard_images.tag_of("coding"),
        standard_images.tag_of("data", standard_images.made_base()),
        standard_images.made_base(),
    }
    for tag in current:
        ours(*tag.removeprefix("localhost/agentcontainer-").split(":"))
    kept = {made("localhost/agentcontainer-coding:of-somebody-else"), ours("documents", "at-work")}
    podman(elsewhere, "create", "--name", "at-work", "localhost/agentcontainer-documents:at-work", "true")
    old = {ours("coding", "old"), ours("coding", "older")}
    (tmp_path / "Containerfile").write_text(
        f"FROM localhost/agentcontainer-coding:old\nLABEL {standard_images.LABEL}=data\n"
    )
    old.add("localhost/agentcontainer-data:old")
    podman(elsewhere, "build", "--pull=never", "--tag", "localhost/agentcontainer-data:old", str(tmp_path))
    podman(elsewhere, "tag", standard_images.tag_of("coding"), "localhost/agentcontainer-coding:by-another-name")
    old.add("localhost/agentcontainer-coding:by-another-name")

    said = json.loads(call("images", "prune", "--json", env=elsewhere, cwd=tmp_path))
    assert {one["tag"] for one in said if one["removed"]} == old
    (left,) = [one for one in said if not one["removed"]]
    assert left["tag"] == "localhost/agentcontainer-documents:at-work" and "container" in left["reason"]
    here = set(podman(elsewhere, "images", "--all", "--format", "{{.Repository}}:{{.Tag}}").splitlines())
    assert here == current | kept

    podman(elsewhere, "rm", "at-work")
    assert "at-work" in call("images", "prune", env=elsewhere, cwd=tmp_path)
    assert json.loads(call("images", "prune", "--json", env=elsewhere, cwd=tmp_path)) == []


def test_images_of_ones_own_and_those_that_a_definition_names_are_never_removed(elsewhere, tmp_path: Path, monkeypatch):
    empty = subprocess.run(["tar", "-c", "--files-from=/dev/null"], capture_output=True, check=True).stdout

    def made(tag: str, **labels: str) -> str:
        changes = [f"--change=LABEL {name}={value}" for name, value in {**labels, "own": tag}.items()]
        podman(elsewhere, "import", *changes, "-", tag, stdin=empty)
        return tag

    def built(tag: str, on: str) -> str:
        (tmp_path / "Containerfile").write_text(f"FROM {on}\nENV MINE={tag}\n")
        podman(elsewhere, "build", "--pull=never", "--tag", tag, str(tmp_path))
        return tag

    ours = [f"localhost/agentcontainer-coding:{name}" for name in ("old", "named", "marked")]
    for tag in ours[:2]:
        made(tag, **{standard_images.LABEL: "coding"})
    made(ours[2], **{standard_images.LABEL: "coding", standard_images.MADE_FOR: ours[2]})
    kept = {
        ours[1],
        built("localhost/mine:1", ours[0]),
        built("localhost/agentcontainer-coding:mine", ours[2]),
        built("localhost/agentcontainer-mine:1", ours[2]),
    }
    podman(elsewhere, "untag", built("localhost/nameless:1", ours[2]))
    before = set(podman(elsewhere, "images", "--quiet", "--no-trunc").split())

    said = pruned(elsewhere, tmp_path, *((image, None, "[]") for image in (ours[1], "localhost/mine:1")))
    assert {one["tag"]: one["removed"] for one in said} == {ours[0]: True, ours[1]: False, ours[2]: True}
    here = podman(elsewhere, "images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert kept <= set(here) and "<none>:<none>" in here
    assert len(before) - len(set(podman(elsewhere, "images", "--quiet", "--no-trunc").split())) <= 2


def test_an_image_that_was_opened_stays_as_long_as_a_definition_asks_for_it(elsewhere, tmp_path: Path):
    empty = subprocess.run(["tar", "-c", "--files-from=/dev/null"], capture_output=True, check=True).stdout

    def made(tag: str, *labels: str) -> str:
        podman(elsewhere, "import", *[f"--change=LABEL={label}" for label in labels], "-", tag, stdin=empty)
        return podman(elsewhere, "image", "inspect", "--format", "{{.Id}}", tag)

    def opened_for(image: str, *paths: str, program: bytes | None = None) -> str:
        name = writable_images.name_of(image, list(paths), program or writable_images.program())
        made(name, f"{writable_images.ORIGIN}={image}", f"own={name}")
        return name

    mine, coding = (
        made("localhost/mine:1"),
        made(standard_images.tag_of("coding"), f"{standard_images.LABEL}=coding", "made=now"),
    )
    wanted = {opened_for(mine, "/testbed"), opened_for(coding, "/opt", "/srv")}
    built = "localhost/built-on-an-opened-one:1"
    made(built, f"{writable_images.ORIGIN}={mine}")
    used = opened_for(mine, "/used")
    podman(elsewhere, "create", "--name", "at-work", used, "true")
    unwanted = {
        opened_for(mine, "/testbed", "/srv"),
        opened_for(coding, "/testbed"),
        opened_for("f" * 64, "/testbed"),
        opened_for(mine, "/testbed", program=b"of an earlier version"),
    }
    said = pruned(
        elsewhere,
        tmp_path,
        ("localhost/mine:1", None, '["/testbed"]'),
        (None, "coding", '["/opt", "/srv"]'),
        ("localhost/mine:1", None, "[]"),
    )
    assert {one["tag"]: one["removed"] for one in said} == {**dict.fromkeys(unwanted, True), used: False}
    here = set(podman(elsewhere, "images", "--format", "{{.Repository}}:{{.Tag}}").splitlines())
    assert here == {*wanted, used, built, "localhost/mine:1", standard_images.tag_of("coding")}


def pruned(env: dict[str, str], folder: Path, *versions: tuple[str | None, str | None, str]) -> list[dict]:
    """What is said where one of the account's stores has containers with these images, presets and directories."""
    store = db.open(folder / "agentcontainer.db")
    store.conn.execute("PRAGMA foreign_keys=OFF")
    for number, version in enumerate(versions):
        store.conn.execute(
            "INSERT INTO container_versions (id, container_id, number, image, preset, writable_paths,"
            " created_at) VALUES (?, 'c', ?, ?, ?, ?, 'now')",
            (f"v{number}", number, *version),
        )
    store.close()
    identity.claim(store_id := db.new_id("str"), folder)
    try:
        return json.loads(call("images", "prune", "--json", env=env, cwd=folder))
    finally:
        account_registry.of_account("stores").remove(store_id)
