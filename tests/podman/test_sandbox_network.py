"""What a container can reach: tried, from inside, against real listeners."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.podman import network, processes

ADDRESSES = [
    line.split()[3].split("/")[0]
    for line in subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout.splitlines()
    if "scope link" not in line
]


@contextlib.asynccontextmanager
async def listening():
    """A server of the host on all its addresses; yields its ports, and the answers that it gave."""
    answered = []

    async def answer(_, writer):
        answered.append(writer.get_extra_info("sockname"))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, ["0.0.0.0", "::"], 0) as server:
        yield {each.getsockname()[1] for each in server.sockets}, answered


@pytest.mark.parametrize("kind", ["none", "internet"])
async def test_no_address_of_the_host_answers_a_container(run, kind):
    async with listening() as (ports, answered):
        for address in ADDRESSES:
            with contextlib.suppress(OSError):
                for port in ports:
                    _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    await writer.wait_closed()
        assert answered, "the listener works when it is called from the host"
        answered.clear()
        targets = [*ADDRESSES, "10.99.99.2", "10.99.99.3", "169.254.169.254", "host.containers.internal"]
        knocks = [f"timeout 2 nc {address} {port} </dev/null 2>/dev/null" for address in targets for port in ports]
        _, said = await run("; ".join(knocks) + "; echo the end >&2", network=kind)
        assert said.endswith("the end")
        assert answered == []


async def test_a_container_without_internet_has_no_network_device_but_loopback(run):
    _, said = await run("ls /sys/class/net >&2; ip route >&2")
    assert said == "lo"


async def test_a_container_with_internet_has_a_default_route_that_it_cannot_change(run):
    script = "ip route >&2; ip route del unreachable 10.0.0.0/8 || echo refused >&2; cat /etc/resolv.conf >&2"
    _, said = await run(script, network="internet")
    assert "default via 10.99.99.2" in said
    assert all(f"unreachable {area}" in said for area in ("10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16"))
    assert "refused" in said
    assert "nameserver 10.99.99.3" in said or "nameserver 169.254.1.1" in said


async def test_the_walls_are_proven_at_each_start(sandbox, spec):
    closed = await sandbox.start((await sandbox.create(spec())).id)
    network.prove(closed, "none")
    with pytest.raises(network.Unwalled):
        network.prove(closed, "internet")
    opened = await sandbox.start((await sandbox.create(spec(network="internet"))).id)
    network.prove(opened, "internet")
    with pytest.raises(network.Unwalled, match="tap0"):
        network.prove(opened, "none")


async def test_a_container_whose_network_process_was_killed_is_noticed(sandbox, spec):
    made = {kind: (await sandbox.create(spec(network=kind))).id for kind in ("none", "internet")}
    for id in made.values():
        await sandbox.start(id)
    found = {container.id: container for container in await sandbox.found()}
    closed, opened = found[made["none"]], found[made["internet"]]
    assert await sandbox.network_serves(closed.id) and await sandbox.network_serves(opened.id)
    namespace = (await sandbox.inspect(opened.id))["NetworkSettings"]["SandboxKey"]
    [server] = processes.network_servers(namespace)
    os.kill(server, signal.SIGKILL)
    await processes.exited(server)
    assert not await sandbox.network_serves(opened.id)


@pytest.fixture
def hook(tmp_path) -> list[str]:
    network.write_hook(tmp_path / "hooks.d", "slirp4netns")
    return json.loads((tmp_path / "hooks.d/agentcontainer-walls.json").read_text())["hook"]["args"]


def test_the_hook_closes_the_host_the_local_networks_and_the_metadata_address_and_leaves_the_rest(hook, tmp_path):
    """In namespaces of our own: a host with three addresses, a neighbour, and what is behind it (see world.py)."""
    world = Path(__file__).with_name("world.py")
    words = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--kill-child", sys.executable, world]
    seen = json.loads(subprocess.check_output([*words, tmp_path / "resolv.conf", *hook], timeout=60))
    open_before = {name for name, answer in seen["before"].items() if answer == "open"}
    open_after = {name for name, answer in seen["after"].items() if answer == "open"}
    assert open_after == {"the public internet", "the resolver"}, seen
    assert {"the host's public address", "a neighbour in the local network", "the metadata address"} < open_before, seen


def test_the_hook_needs_no_names_of_protocols(hook):
    """/etc/protocols is missing on minimal machines, as on a Debian 12 without `netbase`."""
    script = Path(hook[1]).read_text()
    assert script.count("ipproto") == len(re.findall(r"ipproto \d+ ", script)) == 2


async def test_a_container_whose_hook_fails_is_refused_with_the_hooks_own_words(sandbox, spec, runtime_dir):
    [file] = (runtime_dir / "hooks.d").glob("*.json")
    hook = json.loads(file.read_text())
    hook["hook"]["args"][3] = "no-address"  # the gateway
    file.write_text(json.dumps(hook))
    created = await sandbox.create(spec(network="internet"))
    with pytest.raises(network.Unwalled, match="no-address"):
        await sandbox.start(created.id)
    assert list((runtime_dir / "hooks.d").glob("*.error")) == []
    assert await sandbox.found() == []


@pytest.mark.parametrize("kind", ["none", "internet"])
async def test_a_container_knows_no_name_and_no_nameserver_of_the_hosts(run, kind):
    _, said = await run("cat /etc/hosts >&2; echo --- >&2; cat /etc/resolv.conf >&2; exit 0", network=kind)
    hosts, _, resolver = said.partition("---")
    names = {name for line in hosts.splitlines() if not line.startswith("#") for name in line.split()[1:]}
    assert {"localhost", "agent"} <= names
    assert "host.containers.internal" not in said
    own = {name for line in Path("/etc/hosts").read_text().splitlines() for name in line.partition("#")[0].split()[1:]}
    assert not names & (own - {"localhost"})
    nameservers = [line.split()[1] for line in resolver.splitlines() if line.startswith("nameserver")]
    assert nameservers in (["10.99.99.3"], ["169.254.1.1"]) if kind == "internet" else nameservers == []
    assert "search" not in resolver


@pytest.mark.parametrize("state", ["", "{}", '{"annotations":{"pid":"12"}}', '{"pid": 4194303}'])
def test_a_hook_that_cannot_do_its_work_fails(hook, state):
    assert subprocess.run(hook, executable="/bin/sh", input=state, text=True, stderr=subprocess.DEVNULL).returncode != 0
