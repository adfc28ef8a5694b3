"""The directory for sockets: a short path that belongs to this account. A socket's path has at most 107 bytes."""

import hashlib
import os
import pwd
import stat
import tempfile
from pathlib import Path

SOCKET_BYTES = 107
# the longest path of a store's sockets
WITHIN = "/agentcontainer/xxxxxxxxxx/runs/tsk_xxxxxxxxxxxxxxxxxxxxxxxxx/egress.sock"


def of_store(store_id: str) -> Path:
    """The directory of a store. It does not depend on where the data directory is."""
    base, ours = _base()
    return _private(base, *ours, base / "agentcontainer", base / "agentcontainer" / _short(store_id))


def named(store_id: str) -> Path:
    """The path of the store's directory, which need not exist."""
    return _base()[0] / "agentcontainer" / _short(store_id)


def existing(store_id: str) -> Path | None:
    directory = named(store_id)
    return directory if directory.is_dir() and not directory.is_symlink() else None


def inherit(store_id: str, data: Path) -> None:
    """Renames the directory of earlier versions, which was named after the data directory's path. Containers of that
    time still mount it, so a link stays."""
    new = of_store(store_id)
    old = new.with_name(hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8])
    if old.is_dir() and not old.is_symlink() and not any(new.iterdir()):
        old.rename(new)
    if not old.exists():
        old.unlink(missing_ok=True)
        old.symlink_to(new.name)


def removed_at_logout(
    systemd: Path = Path("/run/systemd/system"), lingering: Path = Path("/var/lib/systemd/linger")
) -> str | None:
    """A warning if logind will remove the runtime directory at the account's last logout, with all agents."""
    given, name = os.environ.get("XDG_RUNTIME_DIR", ""), pwd.getpwuid(os.getuid()).pw_name
    if not systemd.is_dir() or not given.startswith("/run/user/") or (lingering / name).exists():
        return None
    return (
        f"Agents end when {name} logs out, because {given} is removed then. Run `loginctl enable-linger {name}` to"
        " keep it."
    )


def for_a_while() -> tempfile.TemporaryDirectory[str]:
    """A temporary directory, for a command that starts its own Podman service."""
    base, ours = _base()
    return tempfile.TemporaryDirectory(prefix="ac-", dir=_private(base, *ours))


def make(directory: Path) -> None:
    """Creates a directory in the runtime directory, with parents that were removed."""
    base, ours = _base()
    if not directory.is_relative_to(base):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    above = [part for part in reversed(directory.parents) if part.is_relative_to(base) and part != base]
    _private(base, *ours, *above, directory)


def _short(store_id: str) -> str:
    return store_id.rpartition("_")[2][:10]


def _base() -> tuple[Path, list[Path]]:
    """The session's directory if its path is short enough; else one below /tmp, whose directories must belong to us."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _fits(given):
        return Path(given), []
    name = f"agentcontainer-{os.getuid()}"
    base = Path(tempfile.gettempdir(), name)
    base = base if _fits(base) else Path("/tmp", name)
    return base, [base]


def _fits(base: Path | str) -> bool:
    return len(os.fsencode(f"{base}{WITHIN}")) <= SOCKET_BYTES


def _private(base: Path, *parts: Path) -> Path:
    """Creates the directories and returns the last one. Each must belong to this account: the owner of a parent
    directory could replace it."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in parts:
        part.mkdir(mode=0o700, exist_ok=True)
        found = part.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise RuntimeError(f"{part} belongs to another account. Set XDG_RUNTIME_DIR to a folder of this account.")
        part.chmod(0o700)
    return parts[-1] if parts else base
