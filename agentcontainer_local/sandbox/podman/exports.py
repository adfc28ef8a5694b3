"""Exports and imports of workspaces and sessions, with podman commands: the REST API of Podman 4 has no such calls."""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO

from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Archive
from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.podman.containers import STORE
from agentcontainer_local.sandbox.podman.names import SLOT_LABEL, name_of, volumes_of
from agentcontainer_local.sandbox.podman.remembered import Remembered
from agentcontainer_local.sandbox.podman.uids import Uids, owner_of

PARTS = "workspace", "session"


class PodmanExports:
    """See backend.Exports. It needs neither a server nor a Podman service."""

    def __init__(self, store_id: str, remembered: Remembered, environment: Mapping[str, str] = os.environ):
        self._store_id = store_id
        self._remembered = remembered
        self._environment = environment

    def export(self, task_id: str, part: str) -> Archive:
        slot = self._remembered.slot_of(task_id)
        volume = None if slot is None else _volume(slot.name, part)
        return lambda: self._exported(volume)

    def import_(self, task_id: str, part: str, archive: IO[bytes]) -> None:
        """Imports into a slot that is created for the task."""
        name = name_of(self._store_id, task_id)
        uid = Uids().claim(owner_of(self._store_id, task_id))
        self._remembered.put(task_id, task_id, name, uid)
        volume = _volume(name, part)
        labels = [f"--label={STORE}={self._store_id}", f"--label={SLOT_LABEL}={task_id}"]
        self._podman("volume", "create", *labels, "--opt", f"o=uid={uid},gid={uid}", volume)
        self._podman("volume", "import", volume, "-", stdin=archive)
        failpoints.point("restore.volume")
        folder = self._podman("volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip()
        self._podman("unshare", "chown", "--recursive", "--no-dereference", f"{uid}:{uid}", folder)

    def forget_all(self) -> None:
        for volume in self._podman("volume", "ls", "--quiet", "--filter", f"label={STORE}={self._store_id}").split():
            self._podman("volume", "rm", volume)
        for slot in self._remembered.slots():
            Uids().release(owner_of(self._store_id, slot.id), slot.uid)

    @contextlib.contextmanager
    def _exported(self, volume: str | None) -> Iterator[BinaryIO]:
        """Exports a volume that no container uses: a working agent could replace a file by a link meanwhile."""
        if volume is None:
            raise FileNotFoundError("the task has no slot")
        with tempfile.TemporaryFile("w+") as wrong:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": wrong}
            process = self._begun("volume", "export", volume, **streams)
            out = process.stdout
            assert isinstance(out, io.BufferedReader)
            try:
                if not out.peek(1):
                    self._explain(volume, process, wrong)
                yield out
                if not out.peek(1):
                    self._explain(volume, process, wrong)
            finally:
                process.kill()
                out.close()
                process.wait()

    def _explain(self, volume: str, process: subprocess.Popen[bytes], wrong: IO[str]) -> None:
        """Raises the error of an export that has written all its output, if it failed."""
        if process.wait() == 0:
            return
        if not self._exists(volume):
            raise FileNotFoundError(f"there is no volume {volume}")
        wrong.seek(0)
        raise SandboxError(f"podman volume export failed: {wrong.read().strip()}")

    def _exists(self, volume: str) -> bool:
        words = ["podman", "volume", "exists", volume]
        return subprocess.run(words, env=self._environment, cwd="/").returncode == 0

    def _podman(self, *words: str, stdin: IO[bytes] | None = None) -> str:
        """Runs podman and returns its output."""
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as wrong:
            running = self._begun(*words, stdin=subprocess.PIPE, stdout=printed, stderr=wrong)
            with running, contextlib.suppress(BrokenPipeError):
                if stdin is not None and running.stdin is not None:
                    shutil.copyfileobj(stdin, running.stdin)
            for file in (printed, wrong):
                file.seek(0)
            if running.returncode != 0:
                raise SandboxError(f"podman {' '.join(words[:2])} failed: {wrong.read().strip()}")
            return printed.read()

    def _begun(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(["podman", *words], env=self._environment, cwd="/", **streams)
        except FileNotFoundError:
            raise SandboxError("podman is not installed: apt-get install podman") from None


def _volume(slot_name: str, part: str) -> str:
    return dict(zip(PARTS, volumes_of(slot_name), strict=True))[part]
