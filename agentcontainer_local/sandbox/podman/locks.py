"""Finds the process that holds a lock of Podman's storage. Podman itself waits without saying so."""

import contextlib
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path


def holder(storage: Path) -> str | None:
    """Describes the process of this account that holds one of the locks; None if there is none.

    A working Podman also holds a lock for a moment. This is meant for a Podman that does not answer.
    """
    for pid in _ours():
        for file in _locked(pid):
            if file.is_relative_to(storage) and file.suffix in (".lock", ".db", ".sql"):
                return f"process {pid} ({_name(pid)}) holds Podman's storage lock {file}"
    return None


def storage() -> Path:
    """The directory where rootless Podman keeps images and containers."""
    named = os.environ.get("CONTAINERS_STORAGE_CONF")
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers/storage.conf")
    with contextlib.suppress(OSError, ValueError):
        said = tomllib.loads(Path(named or user).read_text()).get("storage", {})
        if root := said.get("rootless_storage_path") or said.get("graphroot"):
            return Path(root).resolve()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share", "containers/storage").resolve()


def _ours() -> Iterator[int]:
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():
                yield int(name)


def _locked(pid: int) -> Iterator[Path]:
    """The files that this process has locked, by any of the kernel's kinds of locks."""
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(OSError):
                if "\nlock:" in Path(f"/proc/{pid}/fdinfo/{number}").read_text():
                    yield Path(os.readlink(f"/proc/{pid}/fd/{number}"))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"
