"""A job's directory, environment and namespaces. It uses only the standard library, so it starts fast.

A job has a separate Podman: its storage, runtime directory and locks are in a directory that is removed with the job,
and it has user and PID namespaces. When the job is killed, the kernel ends all processes in its PID namespace.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BUNDLE = "AGENTCONTAINER_NODE_FILE"
INSIDE = "AGENTCONTAINER_NODE_JOB"  # the job's directory
# The job's directory is mounted here, because Podman limits the path of its runtime state to 50 bytes. Every machine
# has this directory, and the mount is visible only to the job.
SEEN_AT = Path("/mnt")
VOLUMES = SEEN_AT / "volumes"
# Environment variables that are passed on; the others of the scheduler are not.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "PYTHONPATH", BUNDLE)
NAMESPACES = ("--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--mount-proc", "--fork")


def bundle() -> Path:
    """The node's certificate with its key, as written by `agentcontainer nodes add`."""
    given = os.environ.get(BUNDLE)
    return Path(given) if given else Path.home() / ".config/agentcontainer/node.pem"


def home() -> Path:
    """The directory of all jobs on this node: images, the runtime, and a directory for each job."""
    return Path.home() / ".local/share/agentcontainer-node"


def run(job: str, address: str, again: list[str]) -> int:
    """Runs the node program in the job's namespaces. Returns its exit code. `again`: the command of this program."""
    if not re.fullmatch(r"\w+\.\w+", job, re.ASCII):
        raise SystemExit(f"{job!r} is not a job's name.")
    with _folder(job) as folder:
        command = ["unshare", *NAMESPACES, "--kill-child", "catatonit", "--", *again, "node", "run", job, address]
        program = subprocess.Popen(command, env=_environment(folder), stdin=subprocess.DEVNULL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: _passed_on(program.pid, number))
        return program.wait()


def is_inside() -> bool:
    return INSIDE in os.environ


def see_folder() -> None:
    """Mounts the job's directory, in its own mount namespace. Raises CalledProcessError."""
    subprocess.run(["mount", "--bind", os.environ[INSIDE], str(SEEN_AT)], check=True)


def _passed_on(unshare: int, number: int) -> None:
    """Sends the signal to the namespace's first process, which passes it on. unshare itself would only end."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split():
            os.kill(int(child), number)


def _environment(folder: Path) -> dict[str, str]:
    (folder / "run").mkdir(mode=0o700)
    (folder / "containers.conf").write_text(f'[engine]\nlock_type = "file"\nvolume_path = "{VOLUMES}"\n')
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        INSIDE: str(folder),
        # tells Podman that it is in its user namespace already, and whose it is
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": str(os.getuid()),
        "_CONTAINERS_ROOTLESS_GID": str(os.getgid()),
        "XDG_RUNTIME_DIR": str(SEEN_AT / "run"),
        "XDG_DATA_HOME": str(SEEN_AT),
        "CONTAINERS_CONF": str(SEEN_AT / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(SEEN_AT / "storage.conf"),
        "TMPDIR": str(SEEN_AT),
    }


@contextlib.contextmanager
def _folder(job: str) -> Iterator[Path]:
    """The job's directory, locked while the job runs. Unlocked directories belong to killed jobs and are removed."""
    jobs = home() / "jobs"
    jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in jobs.iterdir():
        with _locked(left) as free:
            if free:
                removed(left)
    folder = jobs / _short(job)
    folder.mkdir(mode=0o700, exist_ok=True)
    with _locked(folder) as free:
        if not free:
            raise SystemExit(f"The job {job} runs on this node already.")
        try:
            yield folder
        finally:
            removed(folder)


def _short(job: str) -> str:
    """A short name, because sockets are below it."""
    return hashlib.sha256(job.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def removed(folder: Path) -> None:
    """Removes the directory. Most of it belongs to subordinate ids of this account."""
    mapped = ["unshare", "--user", "--map-root-user", "--map-auto", "--"]
    subprocess.run([*mapped, "rm", "-rf", "--one-file-system", str(folder)], check=False)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"could not remove all of {folder}", file=sys.stderr)
