"""Podman's API service: started, brought back, taken over, ended; and what happens to calls meanwhile."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentcontainer_local.sandbox import podman as sandboxes
from agentcontainer_local.sandbox.podman import (
    Refusal,
    SandboxError,
    Unavailable,
    Unwalled,
    containers_conf,
    libpod,
    locks,
    processes,
)
from agentcontainer_local.sandbox.podman.service import listener


def services(path: Path) -> list[int]:
    """Every process that serves that socket, found by its command line."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if f"unix://{path}" in processes.command_line(pid)]


def conmons(container_id: str) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if {"-c", container_id} < set(processes.command_line(pid))]


async def test_a_killed_service_is_brought_back_once_and_containers_go_on(sandbox, spec, runtime_dir):
    created = await sandbox.create(spec())
    pid = await sandbox.start(created.id)
    before = listener(runtime_dir / "podman.sock")
    os.kill(before, signal.SIGKILL)
    answers = await asyncio.gather(*(sandbox.found() for _ in range(8)))
    assert all([(c.id, c.pid, c.state) for c in found] == [(created.id, pid, "running")] for found in answers)
    assert before not in services(runtime_dir / "podman.sock")
    assert listener(runtime_dir / "podman.sock") in services(runtime_dir / "podman.sock")
    await sandbox.stop(created.id, timeout=0)
    assert await sandbox.exit_code(created.id) == 137


@pytest.mark.parametrize("milliseconds", [1, 8, 40])
async def test_a_call_that_loses_the_service_half_way_succeeds_or_leaves_nothing(
    sandbox, spec, runtime_dir, milliseconds
):
    creating = asyncio.create_task(sandbox.create(spec()))
    await asyncio.sleep(milliseconds / 1000)
    os.kill(listener(runtime_dir / "podman.sock"), signal.SIGKILL)
    try:
        await sandbox.start((await creating).id)
        assert [c.state for c in await sandbox.found()] == ["running"]
    except Unavailable:
        assert await sandbox.found() == []


@pytest.mark.parametrize("milliseconds", [5, 30, 60, 90])
async def test_a_start_that_loses_the_service_goes_on_or_leaves_nothing(sandbox, spec, runtime_dir, milliseconds):
    created = await sandbox.create(spec())
    starting = asyncio.create_task(sandbox.start(created.id))
    await asyncio.sleep(milliseconds / 1000)
    os.kill(listener(runtime_dir / "podman.sock"), signal.SIGKILL)
    try:
        pid = await starting
        assert [(c.state, c.pid) for c in await sandbox.found()] == [("running", pid)]
        await sandbox.remove(created.id)
    except SandboxError:
        assert await sandbox.found() == []
    for _ in range(100):
        if not conmons(created.id):
            break
        await asyncio.sleep(0.05)
    assert conmons(created.id) == []


async def test_containers_outlive_the_sandbox_and_are_found_by_the_next(runtime_dir, spec):
    async with sandboxes.open(runtime_dir, "test-outlive") as first:
        created = await first.create(spec("while :; do sleep 1; done", network="internet"))
        pid = await first.start(created.id)
    assert services(runtime_dir / "podman.sock") == []
    async with sandboxes.open(runtime_dir, "test-outlive") as second:
        assert [(c.id, c.pid, c.state) for c in await second.found()] == [(created.id, pid, "running")]
        assert "tap0" in Path(f"/proc/{pid}/net/dev").read_text()
        await second.remove(created.id)
        await asyncio.wait_for(second.exited(pid), 5)


async def test_two_stores_of_one_account_see_their_own_containers_only(sandbox, spec, runtime_dir):
    async with sandboxes.open(runtime_dir / "other", "test-other") as other:
        mine, theirs = await asyncio.gather(sandbox.create(spec()), other.create(spec()))
        assert [c.id for c in await sandbox.found()] == [mine.id]
        assert [c.id for c in await other.found()] == [theirs.id]
        await other.remove(theirs.id)
    assert [c.id for c in await sandbox.found()] == [mine.id]


async def test_a_server_that_was_killed_leaves_no_service_in_the_way_of_the_next(runtime_dir):
    script = (
        "import asyncio, pathlib, sys\n"
        "from agentcontainer_local.sandbox import podman as sandbox\n"
        "async def main():\n"
        "    async with sandbox.open(pathlib.Path(sys.argv[1]), 'test-killed') as opened:\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, runtime_dir], stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"ready\n"
        left = services(runtime_dir / "podman.sock")
        server.kill()
    assert left
    async with sandboxes.open(runtime_dir, "test-killed") as opened:
        assert await opened.found() == []
        assert not set(left) & set(services(runtime_dir / "podman.sock"))


async def test_a_service_that_is_left_over_and_a_stale_socket_are_replaced(runtime_dir):
    runtime_dir.mkdir(mode=0o700)
    path = runtime_dir / "podman.sock"
    words = ["podman", "system", "service", "--time=0", f"unix://{path}"]
    with subprocess.Popen(words, cwd="/", stderr=subprocess.DEVNULL) as left_over:
        while listener(path) is None:
            await asyncio.sleep(0.02)
        async with sandboxes.open(runtime_dir, "test-stale") as opened:
            assert await opened.found() == []
            assert left_over.wait(5) is not None
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with sandboxes.open(runtime_dir, "test-stale") as opened:
        assert await opened.found() == []


async def test_a_service_that_hangs_is_replaced(sandbox, runtime_dir):
    hung = listener(runtime_dir / "podman.sock")
    os.kill(hung, signal.SIGSTOP)
    answer = await sandbox._api.call("GET", "/containers/json", seconds=0.5)
    assert answer.status == 200
    assert listener(runtime_dir / "podman.sock") != hung


async def test_a_given_socket_that_does_not_answer_is_named(runtime_dir):
    with pytest.raises(Unavailable, match=r"nothing\.sock does not answer: start it"):
        async with sandboxes.open(runtime_dir, "test-given", str(runtime_dir / "nothing.sock")):
            pass


async def test_a_given_service_without_our_hook_runs_containers_but_none_with_internet(sandbox, runtime_dir, spec):
    path = runtime_dir / "given.sock"
    configuration = runtime_dir / "given.conf"
    no_hooks = sandbox._api.service.environment | {"CONTAINERS_CONF": str(configuration)}
    configuration.write_text(containers_conf.text(runtime_dir / "no-such-directory", None))
    words = ["podman", "system", "service", "--time=0", f"unix://{path}"]
    with subprocess.Popen(words, cwd="/", env=no_hooks, stderr=subprocess.DEVNULL) as given:
        while listener(path) is None:
            await asyncio.sleep(0.02)
        async with sandboxes.open(runtime_dir, "test-given", f"unix://{path}") as opened:
            created = await opened.create(spec())
            await opened.start(created.id)
            await opened.remove(created.id)
            walled_out = await opened.create(spec(network="internet"))
            with pytest.raises(Unwalled, match="internet access is refused here"):
                await opened.start(walled_out.id)
            assert await opened.found() == []
        assert given.poll() is None
        given.terminate()


async def test_what_podman_is_told_is_written_beside_what_others_may_be_reading(runtime_dir):
    """A conmon that outlives a server has Podman read it at a container's end, be it while the next server starts."""
    with contextlib.ExitStack() as reading:
        old = {}
        for _ in range(2):
            async with sandboxes.open(runtime_dir, "test-written"):
                told = [runtime_dir / "containers.conf", *runtime_dir.glob("*.json"), *runtime_dir.glob("hooks.d/*")]
                new = {path: reading.enter_context(path.open()) for path in told}
            assert [path for path in old if os.path.samestat(os.fstat(old[path].fileno()), path.stat())] == []
            assert len(new) >= 2 and [path for path in new if path.suffix not in (".conf", ".json")] == []
            old = new


async def test_a_runtime_that_does_not_exist_is_an_error_that_names_it(runtime_dir, spec):
    with pytest.raises(SandboxError, match="no-such-runtime"):
        async with sandboxes.open(runtime_dir, "test-runtime", oci_runtime="no-such-runtime") as opened:
            await opened.create(spec())


async def test_a_runtime_directory_too_deep_for_a_socket_is_refused(runtime_dir):
    with pytest.raises(SandboxError, match="107 bytes"):
        async with sandboxes.open(runtime_dir / ("x" * 100), "test-deep"):
            pass


def test_the_engine_part_of_the_users_configuration_is_kept_and_the_containers_part_is_not(monkeypatch, tmp_path):
    own = tmp_path / "containers.conf"
    own.write_text(
        '[containers]\nvolumes = ["/home:/home"]\nenv = ["A=b"]\n'
        '[engine]\nnum_locks = 4096\nremote = true\nruntime = "crun"\n[engine.runtimes]\nrunsc = ["/usr/bin/runsc"]\n'
    )
    monkeypatch.setenv("CONTAINERS_CONF", str(own))
    text = containers_conf.text(Path("/hooks"), None)
    assert "num_locks = 4096" in text
    assert 'runtime = "crun"' in text
    assert 'hooks_dir = ["/hooks"]' in text
    assert '[engine.runtimes]\nrunsc = ["/usr/bin/runsc"]' in text
    assert "volumes" not in text
    assert "remote" not in text


async def test_a_refusal_keeps_podmans_words(sandbox, spec):
    with pytest.raises(Refusal, match="no such file"):
        wanted = spec(binds=(sandboxes.Bind("/no/such/source", "/opt/it"),))
        await sandbox.start((await sandbox.create(wanted)).id)


async def test_a_call_that_hangs_holds_no_other_up(sandbox, monkeypatch):
    """More of them than are at work at a time."""
    monkeypatch.setattr(libpod, "SLOW_SECONDS", 0.2)
    path = f"/events?stream=true&until={int(time.time()) + 5}"  # answers when it is over
    hanging = [asyncio.create_task(sandbox._api.call("GET", path)) for _ in range(2 * os.cpu_count() + 1)]
    await asyncio.sleep(0)
    began = time.monotonic()
    assert await sandbox.found() == []
    assert time.monotonic() - began < 3
    for call in hanging:
        call.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_runtime_directory_that_is_removed_is_made_again(sandbox, spec, runtime_dir):
    first = listener(runtime_dir / "podman.sock")
    shutil.rmtree(runtime_dir)
    created = await sandbox.create(spec())
    await sandbox.start(created.id)
    assert listener(runtime_dir / "podman.sock") not in (None, first)
    assert (runtime_dir / "containers.conf").exists() and (runtime_dir / "hooks.d").is_dir()
    await sandbox.ready()


async def test_a_runtime_directory_that_cannot_be_made_is_named_and_used_once_it_is_there(
    spec, runtime_dir, monkeypatch
):
    session = runtime_dir / "session"
    session.mkdir(parents=True)
    async with sandboxes.open(session / "ours", "test-away") as opened:
        shutil.rmtree(session)
        session.touch()
        for asked in (opened.ready(), opened.create(spec()), opened.found()):
            with pytest.raises(Unavailable, match="loginctl enable-linger") as error:
                await asked
            assert str(session / "ours") in str(error.value)
        session.unlink()
        assert await opened.found() == []


async def test_a_part_of_the_runtime_directory_that_is_cleaned_away_is_made_again(sandbox, runtime_dir):
    for part in ("seccomp.json", "containers.conf", "hooks.d"):
        gone = runtime_dir / part
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        await sandbox.ready()
        assert gone.exists()


async def test_a_patient_sandbox_opens_before_podman_answers(runtime_dir):
    async with sandboxes.open(runtime_dir, "test-given", str(runtime_dir / "nothing.sock"), patient=True) as opened:
        with pytest.raises(Unavailable, match=r"nothing\.sock does not answer: start it"):
            await opened.ready()


def test_who_holds_a_lock_of_the_storage_is_found(tmp_path):
    path = tmp_path / "overlay-images/images.lock"
    path.parent.mkdir()
    assert locks.holder(tmp_path) is None
    with path.open("w") as lock:
        assert locks.holder(tmp_path) is None
        for take in (fcntl.lockf, fcntl.flock):
            take(lock, fcntl.LOCK_EX)
            said = locks.holder(tmp_path)
            assert f"process {os.getpid()} (" in said and str(path) in said
            take(lock, fcntl.LOCK_UN)
    assert locks.holder(tmp_path) is None


async def test_a_container_is_ended_without_podman(sandbox, spec, runtime_dir):
    created = await sandbox.create(spec())
    pid = await sandbox.start(created.id)
    sandbox.kill(pid)
    await asyncio.wait_for(sandbox.exited(pid), 5)
    assert await sandbox.exit_code(created.id) == 137
