"""The job's own folder, environment and namespaces. It needs nothing but the standard library: it starts at once.

A job has a Podman of its own: storage, runtime directory and locks in a folder that goes with it, and namespaces for
users and processes. When the job is killed, in whatever way, the kernel ends everything in its PID namespace.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BUNDLE = "AGENTCONTAINER_NODE_FILE"
INSIDE = "AGENTCONTAINER_NODE_JOB"  # the job's folder
# Where the job sees its folder: Podman takes no path of more than 50 bytes for what it keeps while it runs. Every
# machine has this directory, and nobody else sees what is mounted there.
SEEN_AT = Path("/mnt")
# What the job passes on; the rest of the engine's environment stays outside.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "PYTHONPATH", BUNDLE)
NAMESPACES = ("--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--mount-proc", "--fork")


def bundle() -> Path:
    """The node's certificate with its key, as `agentcontainer nodes add` made it."""
    given = os.environ.get(BUNDLE)
    return Path(given) if given else Path.home() / ".config/agentcontainer/node.pem"


def home() -> Path:
    """Of all jobs on this node: images, the runtime, and a folder for each job."""
    return Path.home() / ".local/share/agentcontainer-node"


def run(job: str, address: str, again: list[str]) -> int:
    """Runs the node program in the job's namespaces until its end; its exit code. `again`: how this program starts."""
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
    """In the job's own mount namespace. Raises CalledProcessError."""
    subprocess.run(["mount", "--bind", os.environ[INSIDE], str(SEEN_AT)], check=True)


def _passed_on(unshare: int, number: int) -> None:
    """To the first process of the namespace, which hands it to the node program; unshare itself would just end."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split():
            os.kill(int(child), number)


def _environment(folder: Path) -> dict[str, str]:
    (folder / "run").mkdir(mode=0o700)
    (folder / "containers.conf").write_text('[engine]\nlock_type = "file"\n')
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        INSIDE: str(folder),
        # Podman is told that it is in its user namespace already, and whose that is.
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
    """Locked as long as the job lives. Those that nobody has locked are of jobs that were killed, and go."""
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
    """Sockets are below it, and their paths are short."""
    return job.rpartition("_")[2][:12]


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
    """Most of it belongs to sub-ids of this account."""
    mapped = ["unshare", "--user", "--map-root-user", "--map-auto", "--"]
    subprocess.run([*mapped, "rm", "-rf", "--one-file-system", str(folder)], check=False)
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"could not remove all of {folder}", file=sys.stderr)
