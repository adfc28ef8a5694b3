"""The runtime directory: made once, whole or not at all, from pinned parts."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentcontainer_local.errors import Unavailable
from agentcontainer_local.pi import bundle
from agentcontainer_local.settings import Settings
from tests.unit.conftest import NEEDS_PODMAN

NO_REGISTRY = "http://127.0.0.1:9"
PREPARE = (
    "import sys, pathlib; from agentcontainer_local.pi import bundle; "
    "print(bundle.prepare(pathlib.Path(sys.argv[1]), lambda step: print(step, flush=True)))"
)

pytestmark = [pytest.mark.slow, NEEDS_PODMAN]


@pytest.fixture
def cache(made, tmp_path) -> Path:
    """A cache that has Node and Pi already, but no runtime."""
    for part in ("node", "pi", "esbuild"):
        shutil.copytree(made.parent.parent / part, tmp_path / "cache" / part)
    return tmp_path / "cache"


@pytest.fixture
def guest(tmp_path) -> Path:
    return Path(shutil.copytree(bundle.GUEST, tmp_path / "guest"))


def preparing(cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(cache)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_runtime_that_is_there_is_taken_in_silence(made):
    said = []
    assert bundle.prepare(Settings().cache, said.append) == made
    assert said == []


def test_a_runtime_has_what_containers_expect(made):
    for file in ("libexec/node", "lib/libc.so.6", "pi/dist/bundle/cli.js", "guest/daemon.mjs", "bin/finish"):
        assert (made / file).is_file(), file
    assert os.access(made / "bin/finish", os.X_OK)


def test_pi_says_which_models_it_knows(made):
    known = bundle.catalog(made)
    assert set(known) == {"anthropic", "openai", "openrouter"}
    assert "claude-sonnet-4-5" in known["anthropic"]


def test_two_processes_make_one_runtime(cache):
    ends = [process.communicate() for process in [preparing(cache), preparing(cache)]]
    lines = [said.splitlines() for said, _ in ends]
    assert lines[0][-1] == lines[1][-1]
    assert sum(line.startswith("Warming") for said in lines for line in said) == 1
    assert [path.name for path in (cache / "runtime").iterdir()] == [Path(lines[0][-1]).name]


def test_a_killed_preparation_leaves_nothing_that_is_used(cache):
    process = preparing(cache)
    with process:
        assert process.stdout.readline().startswith("Warming")
        os.killpg(process.pid, signal.SIGKILL)
    assert [path for path in (cache / "runtime").iterdir() if not path.name.startswith(".making-")] == []
    made = bundle.prepare(cache, lambda step: None)
    assert list((cache / "runtime").iterdir()) == [made]


def test_a_changed_guest_program_needs_no_registry(cache, guest, monkeypatch):
    monkeypatch.setenv("npm_config_registry", NO_REGISTRY)
    (guest / "another.mjs").write_text("// new\n")
    made = bundle.prepare(cache, lambda step: None, guest)
    assert (made / "guest/another.mjs").is_file()
    (node,) = cache.glob("node/*/libexec/node")
    assert node.samefile(made / "libexec/node")


def test_a_registry_that_does_not_answer_is_an_error_that_says_so(cache, monkeypatch):
    monkeypatch.setenv("npm_config_registry", NO_REGISTRY)
    shutil.rmtree(cache / "pi")
    with pytest.raises(Unavailable, match="The first start needs the npm registry"):
        bundle.prepare(cache, lambda step: None)
    assert not (cache / "runtime").exists()
    assert list((cache / "pi").iterdir()) == []


def test_a_package_other_than_the_pinned_one_is_refused(cache, guest):
    lock = json.loads((guest / "npm.lock.json").read_text())
    lock["jiti"]["integrity"] = "sha512-" + "A" * 86 + "=="
    (guest / "npm.lock.json").write_text(json.dumps(lock))
    before = set((cache / "pi").iterdir())
    with pytest.raises(Unavailable, match=r"jiti@\S+ from the npm registry is not what npm.lock.json pins"):
        bundle.prepare(cache, lambda step: None, guest)
    assert set((cache / "pi").iterdir()) == before
    assert not (cache / "runtime").exists()


def test_a_pi_that_does_not_start_is_an_error_that_carries_its_words(cache, guest):
    (guest / "extension.mjs").write_text("throw new Error('broken on purpose');\n")
    with pytest.raises(Unavailable, match="broken on purpose"):
        bundle.prepare(cache, lambda step: None, guest)
    assert list((cache / "runtime").iterdir()) == []


def test_without_a_snapshot_a_runtime_has_plain_pi_and_says_why(cache, guest):
    (guest / "snapshot/start.cjs").write_text("throw new Error('broken on purpose');\n")
    said = []
    made = bundle.prepare(cache, said.append, guest)
    assert not (made / "snapshot").exists()
    assert "broken on purpose" in said[-1]


def test_a_snapshot_that_sends_other_requests_than_plain_pi_is_not_kept(cache, guest):
    start = guest / "snapshot/start.cjs"
    changed = start.read_text().replace("pi.start(argv)", 'pi.start([...argv, "--append-system-prompt", "More."])')
    assert changed != start.read_text()
    start.write_text(changed)
    said = []
    made = bundle.prepare(cache, said.append, guest)
    assert not (made / "snapshot").exists()
    assert "sends other requests" in said[-1]


def test_an_agent_can_read_all_of_it_whatever_our_umask(cache):
    before = os.umask(0o077)
    try:
        made = bundle.prepare(cache, lambda step: None)
    finally:
        os.umask(before)
    for path in [made, *made.rglob("*")]:
        mode = path.stat().st_mode
        assert mode & 0o555 == 0o555 if stat.S_ISDIR(mode) else mode & 0o444 == 0o444, path


def test_allowing_a_uid_again_and_at_once_changes_nothing(made):
    at_once = [threading.Thread(target=bundle.allow_uid, args=(made, 59999)) for _ in range(8)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    links = list((made / "cache/compile").glob("*-59999"))
    assert [link.readlink().name[-2:] for link in links] == ["-0"]
    assert any(links[0].iterdir())
