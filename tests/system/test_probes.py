"""Attacks from inside a real container, without any model. docs/security.md has the table of them."""

import contextlib
import ctypes
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import ENDED, Server, podman, serving, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

HERE = Path(__file__).parent
ADDRESSES = [
    line.split()[3].split("/")[0]
    for line in subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout.splitlines()
    if "scope link" not in line
]
BEYOND = ["10.0.2.2", "10.0.2.3", "10.99.99.2", "10.99.99.100", "169.254.169.254", "169.254.1.2", "fd00::2"]
PROBES = [
    line.removeprefix("def ").partition("(")[0]
    for line in HERE.joinpath("probe.py").read_text().replace("@check\n", "@check ").splitlines()
    if line.startswith("@check def ")
    for line in [line.removeprefix("@check ")]
]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("probes") / "data", AGENTCONTAINER_MAX_EVENTS="1500") as running:
        yield running


@contextlib.contextmanager
def the_hosts_own() -> Iterator[dict]:
    """What the host has and an agent must not reach: an abstract socket, a listener on every address, a key."""
    name, key = f"agentcontainer-{secrets.token_hex(4)}", f"agentcontainer:{secrets.token_hex(4)}"
    add_key = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("", 0)) as listener:
        abstract.bind("\0" + name)
        abstract.listen()
        serial = ctypes.CDLL(None).syscall(add_key, b"user", key.encode(), b"canary", 6, -4)
        yield {"abstract": name, "key": key, "serial": max(serial, 0), "listener": listener.getsockname()[1]}


WAYS = [
    pytest.param((internet, waited), id=f"{'with' if internet else 'without'} internet, {how}")
    for internet in (False, True)
    for waited, how in ((False, "started for the task"), (True, "one that waited"))
]


@pytest.fixture(scope="module", params=WAYS)
def tried(server: Server, request, tmp_path_factory) -> Iterator[dict[str, str | None]]:
    internet, waited = request.param
    if not waited:
        yield try_all(server, internet)
        return
    with serving(tmp_path_factory.mktemp("waited") / "data", AGENTCONTAINER_WARM="1") as warm:
        warm.warmed(internetAccess=internet)
        yield try_all(warm, internet)


def try_all(server: Server, internet: bool) -> dict[str, str | None]:
    with the_hosts_own() as own:
        given = {
            **own,
            "uid": os.getuid(),
            "server": server.process.pid,
            "addresses": [*ADDRESSES, *BEYOND],
            "ports": [int(server.url.rpartition(":")[2]), own["listener"], 80],
        }
        probe = server.upload("probe.py", HERE.joinpath("probe.py").read_bytes())
        task = server.run(
            bash(
                f"python3 task_files/probe.py '{json.dumps(given)}' > out.json; cat out.json",
                finish='--complete-task --message "Tried" out.json',
            ),
            files=[probe],
            internetAccess=internet,
        )
    assert task["status"] == "finished", task["error"]
    assert server.took(task) == (server.settings.get("AGENTCONTAINER_WARM") == "1")
    assert task["walls"]["network"] == ("internet" if internet else "none")
    return json.loads(server.outputs(task["id"])["out.json"])


@pytest.mark.parametrize("name", PROBES)
def test_a_way_out_of_the_container_is_closed(tried: dict, name: str):
    assert tried[name] is None


def test_every_probe_was_made(tried: dict):
    assert set(tried) == set(PROBES) and len(PROBES) > 18


JUNK = HERE.joinpath("junk.py").read_bytes()


def test_junk_at_the_door_ends_nothing_but_its_own_connections(server: Server):
    before = len(server.log.read_text())
    hostile = server.dispatch(bash("python3 task_files/junk.py; true"), files=[server.upload("junk.py", JUNK)])
    other = server.dispatch(bash("sleep 1; echo fine > out.txt", finish='--complete-task --message "Done" out.txt'))
    slowest = 0.0
    while server.get(f"/tasks/{hostile['id']}")["status"] not in ENDED:
        begun = time.monotonic()
        server.get("/account")
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(0.02)
    assert server.wait(other["id"])["status"] == "finished"
    assert slowest < 2, "the API answers meanwhile"
    ended = server.wait(hostile["id"])
    assert ended["status"] == "finished", ended["error"]
    said = server.said(hostile["id"])
    assert "HTTP/1.1 5" not in said, said
    for line in said.splitlines():
        if line.startswith(('"path', '"injected', '"short', '"long', '"index', '"early', '"claim', '"head')):
            assert " 200 " not in line, line
    assert len(server.log.read_text()) - before < 20_000, "nor does it fill the log"
    leftovers = [path for path in (server.data / "files").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in leftovers) < 5 << 20, "what never came whole is not kept"


def test_an_agent_that_reports_without_end_ends_its_own_task(server: Server):
    flood = (
        "import socket, json\n"
        "for n in range(40):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect('/run/agentcontainer/host.sock')\n"
        "    rows = [json.dumps({'seq': 10**6 + n * 100 + i, 'event': {'type': 'settled'}}) for i in range(100)]\n"
        "    body = ('\\n'.join(rows) + '\\n').encode()\n"
        "    head = b'POST /guest/events HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: %d\\r\\n\\r\\n' % len(body)\n"
        "    s.sendall(head + body)\n"
        "    s.recv(99); s.close()\n"
    )
    other = server.dispatch(bash("sleep 3"))
    task = server.run(bash("python3 task_files/flood.py; sleep 30"), files=[server.upload("flood.py", flood.encode())])
    assert task["status"] == "failed" and "the limit of --max-event" in task["error"]
    assert server.wait(other["id"])["status"] == "finished"


def test_one_run_reaches_neither_anothers_socket_nor_its_files_nor_its_processes(server: Server):
    """The second run knows everything that the first can tell it."""
    begin = (
        "import http.client, json, os, socket, time\n"
        "class Door(http.client.HTTPConnection):\n"
        "    def connect(self):\n"
        "        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect('/run/agentcontainer/host.sock')\n"
        "def ask(method, path, body=None):\n"
        "    door = Door('host'); door.request(method, path, body); answer = door.getresponse()\n"
        "    return answer.status, answer.read().decode()\n"
    )
    first = begin + (
        "file = {'path': 'a', 'filename': 'a', 'sizeBytes': 1}\n"
        "claim = {'kind': 'finish', 'completion': 'complete', 'message': 'm', 'files': [file]}\n"
        "_, said = ask('POST', '/guest/outputs', json.dumps(claim))\n"
        "pids = [pid for pid in os.listdir('/proc') if pid.isdigit()]\n"
        "open('told', 'w').write(json.loads(said)['id'])\n"
        "print('ID', json.loads(said)['id'], flush=True)\n"
    )
    secret = server.upload("secret.txt", b"the first one's")
    given = [server.upload("first.py", first.encode()), secret]
    one = server.dispatch(bash("python3 task_files/first.py", "sleep 60"), files=given)
    wait_until(lambda: "ID out_" in server.said(one["id"]), 30)
    out = server.said(one["id"]).split("ID ")[1].split()[0]
    inspected = json.loads(podman("inspect", server.container(one)))[0]
    door = next(m["Source"] for m in inspected["Mounts"] if m["Destination"] == "/run/agentcontainer")
    second = begin + (
        f"pid, out, secret, door = {inspected['State']['Pid']}, {out!r}, {secret!r}, {door!r}\n"
        "print('commit', ask('POST', f'/guest/outputs/{out}', '')[0])\n"
        "print('put', ask('PUT', f'/guest/outputs/{out}/0', 'x')[0])\n"
        "print('input', ask('GET', f'/guest/inputs/{secret}')[0])\n"
        "for path in (door, f'{door}/host.sock', f'/proc/{pid}/root', f'/proc/{pid}/cwd', f'/proc/{pid}/environ'):\n"
        "    print('there' if os.path.lexists(path) else 'absent')\n"
        "try: os.kill(pid, 0); print('signalled')\n"
        "except ProcessLookupError: print('absent')\n"
        "import ctypes\n"
        "print('attached' if ctypes.CDLL(None).ptrace(16, pid, 0, 0) == 0 else 'absent')\n"
        "print(sorted(os.listdir('/run/agentcontainer')), sorted(os.listdir('/workspace')))\n"
    )
    two = server.run(bash("python3 task_files/second.py"), files=[server.upload("second.py", second.encode())])
    said = server.said(two["id"])
    assert said.splitlines()[:10] == ["commit 404", "put 404", "input 404", *["absent"] * 7], said
    assert "secret.txt" not in said and "told" not in said
    assert server.get(f"/tasks/{one['id']}")["status"] == "running"
    server.post(f"/tasks/{one['id']}/cancel", expect=200)
    assert Path(door).parent.stat().st_mode & 0o077 == 0, "nor do other users of the host"


def test_no_race_on_outputs_brings_out_a_file_of_the_host(server: Server, tmp_path: Path):
    """A name that is a file, a link, a pipe and a folder in turn, while it is handed over again and again."""
    secret = tmp_path / "host-secret.txt"
    secret.write_text("only on the host")
    targets = [str(secret), "/etc/shadow", "/proc/1/environ", "/run/agentcontainer/host.sock", "/dev/zero"]
    race = (
        "import os, shutil\n"
        f"targets = {targets!r}\n"
        "for n in range(1000):\n"
        "    for kind in ('file', 'link', 'hard', 'pipe', 'folder'):\n"
        "        new = f'new-{n % 7}'\n"
        "        try:\n"
        "            if kind == 'file': open(new, 'w').write('mine')\n"
        "            if kind == 'link': os.symlink(targets[n % len(targets)], new)\n"
        "            if kind == 'hard': os.link('TASK.md', new)\n"
        "            if kind == 'pipe': os.mkfifo(new)\n"
        "            if kind == 'folder':\n"
        "                os.remove('out'); os.mkdir('out'); os.rmdir('out'); continue\n"
        "            os.rename(new, 'out')\n"
        "        except OSError: pass\n"
    )
    attach = "for i in $(seq 8); do timeout 20 attach out out out >/dev/null 2>&1; echo $?; done | sort | uniq -c"
    talk = server.post(
        "/agents/agt_standard_coding/conversations",
        {
            "instructions": "Race.",
            "message": bash(f"python3 task_files/race.py & {attach}; kill %1; rm -rf out"),
            "inputFileIds": [server.upload("race.py", race.encode())],
            "overrides": {"model": "scripted"},
        },
    )["task"]
    server.wait(talk["id"], "awaiting_input", seconds=90)
    came = [
        server.client.get(f"/api/v1/files/{file['id']}/content").content
        for file in server.get(f"/tasks/{talk['id']}/files", limit=1000)["data"]
    ]
    task_text = bash(f"python3 task_files/race.py & {attach}; kill %1; rm -rf out").encode()
    assert all(content in (b"", b"mine", b"Race.") or content in task_text for content in came), set(came)
    assert secret.read_text() == "only on the host"
    more = server.upload("later.txt", b"later")
    flip = bash(
        "(for i in $(seq 200); do mv task_files t 2>/dev/null; ln -sfn /etc task_files; rm -f task_files; "
        "mv t task_files; ln -sfn /opt/agentcontainer reference_files; done) >/dev/null 2>&1 & sleep 0.2"
    )
    server.post(f"/conversations/{talk['id']}/messages", {"content": flip})
    wait_until(lambda: server.get(f"/tasks/{talk['id']}")["turnNumber"] == 2, 20)
    server.post(
        f"/conversations/{talk['id']}/messages",
        {"content": bash("wait; find / -xdev -name later.txt 2>/dev/null"), "inputFileIds": [more]},
    )
    wait_until(
        lambda: (
            server.get(f"/tasks/{talk['id']}")["turnNumber"] == 3
            and server.get(f"/tasks/{talk['id']}")["turnStatus"] != "running"
        ),
        60,
    )
    assert server.get("/account"), "the host is as it was, whatever became of that turn"
    server.post(f"/tasks/{talk['id']}/cancel", expect=200)


def test_a_file_that_is_handed_over_has_a_name_and_no_path(server: Server):
    """Whoever downloads it may save it under that name."""
    script = (
        "import http.client, json, socket\n"
        "class Door(http.client.HTTPConnection):\n"
        "    def connect(self):\n"
        "        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect('/run/agentcontainer/host.sock')\n"
        "def ask(method, path, body=None):\n"
        "    door = Door('host'); door.request(method, path, body); return door.getresponse().read().decode()\n"
        "names = ['../../../.bashrc', '/etc/cron.d/x', '..', 'a\\r\\nset-cookie: b', 'c\\0d', 'e\\\\f']\n"
        "files = [{'path': name, 'filename': name, 'sizeBytes': 1} for name in names]\n"
        "claim = {'kind': 'finish', 'completion': 'complete', 'message': 'm', 'files': files}\n"
        "id = json.loads(ask('POST', '/guest/outputs', json.dumps(claim)))['id']\n"
        "for n in range(len(names)): ask('PUT', f'/guest/outputs/{id}/{n}', 'x')\n"
        "ask('POST', f'/guest/outputs/{id}', '')\n"
    )
    task = server.run(bash("python3 task_files/named.py; sleep 9"), files=[server.upload("named.py", script.encode())])
    listed = server.get(f"/tasks/{task['id']}/files")["data"]
    assert len(listed) == 6
    for file in listed:
        assert not set(file["filename"]) & set("/\\\r\n\0") and file["filename"] not in ("", ".", ".."), file
        answer = server.client.get(f"/api/v1/tasks/{task['id']}/files/{file['id']}").raise_for_status()
        assert "set-cookie" not in answer.headers
