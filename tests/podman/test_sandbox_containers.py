"""Containers by real Podman: what always holds, and what is left when something fails."""

import asyncio
import contextlib
import os
import signal
import uuid
from pathlib import Path

import pytest

from agentcontainer_local.sandbox import podman as sandboxes
from agentcontainer_local.sandbox.podman import (
    STORE,
    Bind,
    ImageMissing,
    Mounted,
    Refusal,
    SandboxError,
    Ulimits,
    processes,
)


async def test_a_container_runs_to_its_end_and_its_exit_code_is_known(run):
    assert await run("echo to stdout; echo to stderr >&2; exit 7") == (7, "to stderr")


async def test_the_first_process_has_its_own_uid_no_capability_and_can_gain_none(run):
    _, said = await run("id -u >&2; id -g >&2; grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status >&2")
    uid, gid, *status = said.splitlines()
    facts = {line.split(":")[0]: line.split(":")[1].strip() for line in status}
    assert (uid, gid, facts["NoNewPrivs"]) == ("20001", "20001", "1")
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["Groups"] in ("", "20001")


async def test_a_process_of_the_container_is_neither_our_uid_nor_gid_on_the_host(sandbox, spec):
    pid = await sandbox.start((await sandbox.create(spec())).id)
    owner = os.stat(f"/proc/{pid}")
    assert owner.st_uid not in (0, os.getuid())
    assert owner.st_gid not in (0, os.getgid())


async def test_orphans_are_reaped_by_an_init(run):
    _, said = await run("cat /proc/1/cmdline >&2")
    assert "init" in said


async def test_a_bind_is_read_only_and_the_rest_of_the_host_is_not_there(run, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "seen").write_text("seen")
    script = "cat /opt/it/seen >&2; touch /opt/it/new || echo refused >&2; ls /home /root >&2"
    _, said = await run(script, binds=(Bind(str(tmp_path), "/opt/it"),))
    assert said.startswith("seen")
    assert "refused" in said
    assert said.count("No such file") == 2
    assert not (tmp_path / "new").exists()


async def test_the_servers_environment_reaches_neither_container_nor_podman(runtime_dir, image, spec, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-5f1c")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:canary-5f1c@127.0.0.1:1")
    async with sandboxes.open(runtime_dir, "test-environment") as sandbox:
        created = await sandbox.create(spec("grep -a [c]anary /proc/*/environ >&2; sleep 600"))
        pid = await sandbox.start(created.id)
        conmon = (await sandbox.inspect(created.id))["State"]["ConmonPid"]
        assert "ANTHROPIC" not in Path(f"/proc/{conmon}/environ").read_text()
        assert processes.conmon_of(pid, created.id) == conmon
        assert await sandbox.logs_tail(created.id) == ""
        assert "canary-" not in str(await sandbox.inspect(created.id))
        await sandbox.remove(created.id)


async def test_what_an_image_says_of_user_entrypoint_volumes_and_health_changes_nothing(sandbox, image, run, tmp_path):
    (tmp_path / "Containerfile").write_text(
        f'FROM {image}\nUSER 0\nENTRYPOINT ["/bin/false"]\nVOLUME /data\nHEALTHCHECK CMD /bin/true\nSTOPSIGNAL USR1\n'
    )
    lines = []
    tag = "localhost/agentcontainer-tests/odd:1"
    labels = {"agentcontainer.odd": "1"}
    await sandbox.build(tmp_path, tmp_path / "Containerfile", tag, progress=lines.append, labels=labels)
    assert any("ENTRYPOINT" in line for line in lines)
    code, said = await run("id -u >&2", image=tag)
    assert (code, said) == (0, "20001")
    assert await sandbox.image_id(tag) in [image.id for image in await sandbox.images("agentcontainer.odd=1")]
    await sandbox.remove_image(tag)
    await sandbox.remove_image(tag)
    assert await sandbox.image(tag) is None


async def test_a_build_that_fails_says_its_last_lines(sandbox, image, tmp_path):
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN echo because of this; exit 3\n")
    tag = "localhost/agentcontainer-tests/none:1"
    with pytest.raises(SandboxError, match="because of this"):
        await sandbox.build(tmp_path, tmp_path / "Containerfile", tag, progress=print)
    assert await sandbox.image(tag) is None


async def test_ulimits_are_in_force(run):
    script = "for l in n u c; do ulimit -$l >&2; done; dd if=/dev/zero of=/tmp/big bs=1024 count=2048"
    code, said = await run(script, ulimits=Ulimits(open_files=512, file_bytes=1024**2, processes=99))
    assert (code, said.split()) == (128 + signal.SIGXFSZ, ["512", "99", "0"])


async def test_a_log_is_kept_small_and_its_end_is_read(run):
    script = "i=0; while [ $i -lt 3000 ]; do echo line $i of a long log >&2; i=$((i+1)); done; echo the end >&2"
    _, said = await run(script, log_bytes=20_000)
    assert said.endswith("the end")
    assert len(said) <= 4096


async def test_a_missing_image_is_named_and_nothing_is_left(sandbox, spec):
    with pytest.raises(ImageMissing, match="localhost/nothing:here"):
        await sandbox.create(spec(image="localhost/nothing:here"))
    assert await sandbox.found() == []


async def test_a_name_that_is_taken_is_refused_and_its_owner_goes_on(sandbox, spec):
    wanted = spec()
    first = await sandbox.create(wanted)
    await sandbox.start(first.id)
    with pytest.raises(Refusal):
        await sandbox.create(wanted)
    assert [(c.id, c.state) for c in await sandbox.found()] == [(first.id, "running")]


async def test_a_start_that_fails_removes_the_container(sandbox, spec):
    created = await sandbox.create(spec(workdir="/", command=("/not/there",)))
    try:
        await sandbox.exited(await sandbox.start(created.id))  # the init starts, and then finds no program
        assert await sandbox.exit_code(created.id) not in (0, None)
        await sandbox.remove(created.id)
    except SandboxError:
        pass
    assert await sandbox.found() == []
    bad = await sandbox.create(spec(binds=(Bind("/etc/hostname", "/proc/self/mem"),)))
    with pytest.raises(SandboxError):
        await sandbox.start(bad.id)
    assert await sandbox.found() == []


@pytest.mark.parametrize("milliseconds", [0, 3, 10, 30])
async def test_a_cancelled_create_leaves_nothing(sandbox, spec, milliseconds):
    creating = asyncio.create_task(sandbox.create(spec()))
    await asyncio.sleep(milliseconds / 1000)
    creating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sandbox.remove((await creating).id)
    assert await sandbox.found() == []


@pytest.mark.parametrize("milliseconds", [5, 50])
async def test_a_cancelled_start_leaves_nothing(sandbox, spec, milliseconds):
    starting = asyncio.create_task(sandbox.start((await sandbox.create(spec())).id))
    await asyncio.sleep(milliseconds / 1000)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await sandbox.found() == []


async def test_a_stopped_container_is_kept_with_its_files_and_starts_again(sandbox, spec):
    script = "cat /tmp/kept >&2; echo was here > /tmp/kept; trap 'exit 5' TERM; sleep 600 & wait"
    created = await sandbox.create(spec(script))
    pid = await sandbox.start(created.id)
    await asyncio.sleep(0.3)
    await sandbox.stop(created.id, timeout=5)
    await asyncio.wait_for(sandbox.exited(pid), 1)
    assert await sandbox.exit_code(created.id) == 5
    assert [(c.state, c.exit_code) for c in await sandbox.found()] == [("exited", 5)]
    await sandbox.stop(created.id)
    await sandbox.start(created.id)
    await asyncio.sleep(0.3)
    assert "was here" in await sandbox.logs_tail(created.id)


async def test_starting_what_runs_gives_the_same_process(sandbox, spec):
    created = await sandbox.create(spec())
    assert await sandbox.start(created.id) == await sandbox.start(created.id)


async def test_a_container_that_ends_while_it_is_removed_is_removed(sandbox, spec):
    async def ended_and_removed(seconds: float) -> None:
        created = await sandbox.create(spec("sleep 0.1"))
        await sandbox.start(created.id)
        await asyncio.sleep(seconds)
        await sandbox.remove(created.id)
        assert await sandbox.inspect(created.id) is None

    for step in range(20):  # Podman 4.3 refuses some of them
        await asyncio.gather(*(ended_and_removed(0.05 + 0.005 * (step + beside)) for beside in range(3)))


async def test_what_is_gone_can_be_stopped_removed_and_asked_about(sandbox):
    await sandbox.stop("nothing-of-this-name")
    await sandbox.remove("nothing-of-this-name")
    await sandbox.remove_volume("nothing-of-this-name")
    assert await sandbox.inspect("nothing-of-this-name") is None
    assert await sandbox.exit_code("nothing-of-this-name") is None
    assert await sandbox.logs_tail("nothing-of-this-name") == ""
    await sandbox.exited(2**22 - 1)


async def test_a_store_finds_its_own_containers_in_every_state(sandbox, spec):
    names = ("made", "runs", "ended", "lost")
    ids = [(await sandbox.create(spec(labels={"agentcontainer.run": name}))).id for name in names]
    pids = [await sandbox.start(id) for id in ids[1:]]
    os.kill((await sandbox.inspect(ids[3]))["State"]["ConmonPid"], signal.SIGKILL)
    await sandbox.stop(ids[2], timeout=0)
    await asyncio.sleep(0.1)
    found = {container.labels["agentcontainer.run"]: container for container in await sandbox.found()}
    assert {name: c.state for name, c in found.items()} == {
        "made": "created", "runs": "running", "ended": "exited", "lost": "lost",
    }  # fmt: skip
    assert found["runs"].pid == pids[0]
    assert found["ended"].exit_code == 137
    assert all(STORE in c.labels and c.created_at.tzinfo for c in found.values())


async def test_a_container_whose_conmon_was_killed_can_be_removed(sandbox, spec):
    created = await sandbox.create(spec())
    pid = await sandbox.start(created.id)
    os.kill((await sandbox.inspect(created.id))["State"]["ConmonPid"], signal.SIGKILL)
    await sandbox.remove(created.id)
    await asyncio.wait_for(sandbox.exited(pid), 5)
    assert await sandbox.found() == []


async def test_a_volume_belongs_to_its_uid_outlives_containers_and_is_made_once(sandbox, spec, run):
    name = spec().name
    await asyncio.gather(*(sandbox.create_volume(name, {"agentcontainer.task": "t1"}, 20001) for _ in range(2)))
    volumes = (Mounted(name, "/workspace"),)
    _, said = await run("stat -c '%u %g %a' /workspace >&2; echo kept > /workspace/file", volumes=volumes)
    assert said.split()[:2] == ["20001", "20001"]
    assert (await run("cat /workspace/file >&2", volumes=volumes))[1] == "kept"
    assert (await run("touch /workspace/file", volumes=volumes, uid=20002))[0] != 0
    assert [(v.name, v.labels["agentcontainer.task"]) for v in await sandbox.volumes()] == [(name, "t1")]
    await sandbox.remove_volume(name)
    assert await sandbox.volumes() == []


async def test_a_volume_in_use_is_not_removed(sandbox, spec):
    wanted = spec()
    await sandbox.create_volume(wanted.name, {}, 20001)
    await sandbox.create(spec(volumes=(Mounted(wanted.name, "/workspace"),)))
    with pytest.raises(Refusal):
        await sandbox.remove_volume(wanted.name)


async def test_the_volumes_of_every_store_of_the_account_are_found_by_a_label(sandbox, runtime_dir):
    label = f"test-{uuid.uuid4().hex}"
    async with sandboxes.open(runtime_dir / "other", "test-other") as other:
        await sandbox.create_volume(f"{label}-1", {label: "a"}, 20001)
        await other.create_volume(f"{label}-2", {label: "b"}, 20001)
        try:
            found = await sandbox.labels_of_all_volumes(label)
            assert sorted(labels[label] for labels in found) == ["a", "b"]
        finally:
            await asyncio.gather(sandbox.remove_volume(f"{label}-1"), sandbox.remove_volume(f"{label}-2"))
