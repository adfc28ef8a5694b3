"""A server on the head, whose agents live on the nodes; and what it needs of images and of the runtime."""

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.cluster.machines import CLONE, Machine
from tests.cluster.slurm import Slurm

CLONE_NEWNET = 0x40000000
LISTEN = "10.77.0.1:7443"
ENDED = {"finished", "failed", "cancelled", "expired"}
PYTHONPATH = os.pathsep.join([str(CLONE), *(path for path in sys.path if path)])
PREPARE = """
import asyncio, sys
from pathlib import Path
from platformdirs import user_cache_path
from agentcontainer_local.pi import bundle
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import standard_images
from agentcontainer_local.process import runtime_directory

async def main():
    with runtime_directory.for_a_while() as folder:
        async with podman.open(Path(folder), "str_clustertests") as sandbox:
            return await standard_images.ensure(sandbox, "coding", lambda words: None)

print(bundle.prepare(user_cache_path("agentcontainer"), lambda words: None))
print(asyncio.run(main()))
"""


@contextlib.contextmanager
def network_of(machine: Machine) -> Iterator[None]:
    """This thread's new sockets are in that machine's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{machine.init}/ns/net") as its:
        assert libc.setns(its.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(own.fileno(), CLONE_NEWNET) == 0


class Prepared:
    """What servers and nodes would make or fetch at their first start, taken from this machine's account."""

    def __init__(self, slurm: Slurm):
        account = pwd.getpwnam(slurm.account)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": PYTHONPATH,
            "HOME": account.pw_dir,
            "USER": slurm.account,
            "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{account.pw_uid}"),
        }
        words = ["setpriv", f"--reuid={slurm.account}", f"--regid={account.pw_gid}", "--init-groups", "--"]
        printed = subprocess.run(
            [*words, sys.executable, "-c", PREPARE], env=environ, cwd="/", check=True, capture_output=True, text=True
        ).stdout
        self.runtime, self.image = Path(printed.split()[0]), printed.split()[1]
        archive = slurm.folder / "image.tar"
        with archive.open("wb") as out:
            save = ["podman", "save", "--format", "docker-archive", self.image]
            subprocess.run([*words, *save], env=environ, cwd="/", check=True, stdout=out)
        self._caches(slurm)
        with archive.open("rb") as file:
            slurm.head.run("podman", "load", "--quiet", stdin=file, user=slurm.account, timeout=600)
        archive.unlink()

    def _caches(self, slurm: Slurm) -> None:
        folders = [slurm.folder / "head/.cache/agentcontainer"]
        folders += [slurm.folder / node.name / ".local/share/agentcontainer-node/runtime" for node in slurm.nodes]
        cache = self.runtime.parents[1]
        for folder in folders:
            folder.mkdir(parents=True)
            for part in ("node", "pi", "program", f"runtime/{self.runtime.name}"):
                if (cache / part).exists():
                    (folder / part).parent.mkdir(exist_ok=True)
                    subprocess.run(["cp", "-a", cache / part, folder / part], check=True)
        for machine in slurm.machines:
            subprocess.run(["chown", "-R", f"{slurm.account}:", slurm.folder / machine], check=True)


class Server:
    def __init__(self, slurm: Slurm, name: str = "data", **settings: str):
        self.slurm = slurm
        self.data = f"{pwd.getpwnam(slurm.account).pw_dir}/{name}"
        self.key = "ac_live_" + secrets.token_urlsafe(24)
        self.settings = settings
        self.log = slurm.folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    @property
    def files(self) -> Path:
        """Its data directory, as this machine sees it."""
        return self.slurm.folder / "head" / Path(self.data).name

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of the agentcontainer commands, on the head."""
        return self.slurm.head.run(
            sys.executable, "-m", "agentcontainer_local", *words, user=self.slurm.account, environ=self._environ()
        )

    def allow_nodes(self) -> None:
        for node in self.slurm.nodes:
            bundle = self.command("nodes", "add", node.name).stdout
            folder = self.slurm.folder / node.name / ".config/agentcontainer"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "node.pem").write_text(bundle)
            (folder / "node.pem").chmod(0o600)
            subprocess.run(["chown", "-R", f"{self.slurm.account}:", folder.parent], check=True)

    def start(self) -> None:
        node_command = f"env PYTHONPATH={PYTHONPATH} {sys.executable} -m agentcontainer_local"
        words = ["serve", "--port", "3000", "--scheduler", "slurm", "--node-listen", LISTEN]
        words += ["--scheduler-options", "--partition=agents", "--node-command", node_command]
        with self.log.open("ab") as log:
            self.process = self.slurm.head.start(
                sys.executable, "-m", "agentcontainer_local", *words, user=self.slurm.account,
                environ=self._environ(), stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        ready = next((line for line in self.process.stdout if "is ready at" in line), None)
        assert ready is not None, self.log.read_text()[-3000:]
        self.client = httpx.Client(
            base_url="http://127.0.0.1:3000/api/v1", headers={"Authorization": f"Bearer {self.key}"}, timeout=60,
            trust_env=False,
        )  # fmt: skip

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.client.close()
        self.slurm.head.run("pkill", f"-{number}", "-f", "agentcontainer_local serve")
        with self.process:
            self.process.wait(timeout=60)

    def _environ(self) -> dict[str, str]:
        return {
            "PYTHONPATH": PYTHONPATH,
            "AGENTCONTAINER_API_KEY": self.key,
            "AGENTCONTAINER_DATA": self.data,
            "AGENTCONTAINER_FAILED_WORKSPACE_RETENTION_SECONDS": "0",
            "CANARY_OF_THE_SERVER": "tweet-tweet",
            **self.settings,
        }

    def get(self, path: str, **query) -> dict:
        with network_of(self.slurm.head):
            response = self.client.get(path, params=query)
        assert response.is_success, response.text
        return response.json()

    def post(self, path: str, body: dict | None = None, expect: int = 201) -> dict:
        with network_of(self.slurm.head):
            response = self.client.post(path, json=body)
        assert response.status_code == expect, response.text
        return response.json()

    def dispatch(self, instructions: str, *, agent: str = "agt_standard_coding", **overrides) -> dict:
        sent = {"model": "scripted", "maxRuntimeSeconds": 300, **overrides}
        return self.post(f"/agents/{agent}/tasks", {"instructions": instructions, "overrides": sent})

    def wait(self, task_id: str, *statuses: str, seconds: float = 120) -> dict:
        deadline = time.monotonic() + seconds
        while (task := self.get(f"/tasks/{task_id}"))["status"] not in (statuses or ENDED):
            assert task["status"] not in ENDED, (task["status"], task["error"])
            assert time.monotonic() < deadline, (task["status"], self.slurm.jobs(), self.log.read_text()[-3000:])
            time.sleep(0.1)
        return task

    def history(self, task_id: str) -> list[dict]:
        return self.get(f"/tasks/{task_id}/events", order="asc", limit=1000)["data"]

    def outputs(self, task_id: str) -> dict[str, bytes]:
        listed = self.get(f"/tasks/{task_id}/files")["data"]
        found = {}
        for file in listed:
            with network_of(self.slurm.head):
                found[file["filename"]] = self.client.get(f"/tasks/{task_id}/files/{file['id']}").content
        return found

    def row(self, sql: str, *parameters) -> dict:
        import sqlite3

        with contextlib.closing(sqlite3.connect(self.files / "agentcontainer.db")) as store:
            store.row_factory = sqlite3.Row
            return dict(store.execute(sql, parameters).fetchone())


@contextlib.contextmanager
def serving(slurm: Slurm, name: str = "data", **settings: str) -> Iterator[Server]:
    server = Server(slurm, name, **settings)
    server.allow_nodes()
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.end()
        for node in slurm.nodes:
            shutil.rmtree(slurm.folder / node.name / ".config/agentcontainer", ignore_errors=True)
