"""The unprivileged account that `serve` switches to if root starts it."""

import os
import pwd
import shlex
from pathlib import Path

import platformdirs

from agentcontainer_local import environment

NAME = "agentcontainer"


def name() -> str:
    return os.environ.get(environment.USER) or NAME


def making() -> list[str]:
    """The command that creates the account. It is not a system account, because those get no subordinate ids."""
    return ["useradd", "--create-home", "--shell", "/bin/bash", "--comment", "AgentContainer", name()]


def there() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name())
    except KeyError:
        return None


def find() -> pwd.struct_passwd:
    """The account. Raises RuntimeError if it does not exist."""
    if (account := there()) is not None:
        return account
    raise RuntimeError(
        f"The account {name()} is missing. Rootless Podman does not run as root: make the account with"
        f" `{shlex.join(making())}`, or start this as an ordinary user."
    )


def data_directory() -> Path:
    """The default data directory of `serve` when this user starts it."""
    if os.getuid() != 0:
        return Path(platformdirs.user_data_dir("agentcontainer"))
    return Path(find().pw_dir, ".local", "share", "agentcontainer")


def become(data: Path | None) -> None:
    """Drops root's privileges for good, after giving `data` to the account. Raises RuntimeError."""
    account = find()
    if data is not None:
        _hand_over(data, account)
    _make_runtime_dir(account)
    _drop_to(account)
    if data is not None and not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        raise RuntimeError(
            f"The account {account.pw_name} can't reach {data}: it may not enter a folder above"
            f" it. Name another data directory with --data."
        )


def look_as(account: pwd.struct_passwd) -> None:
    """Drops root's privileges for good, without changing anything on this machine."""
    _drop_to(account)


def _drop_to(account: pwd.struct_passwd) -> None:
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    os.environ.clear()
    os.environ.update(
        kept
        | {
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "XDG_RUNTIME_DIR": str(runtime_dir(account)),
        }
    )
    os.chdir(account.pw_dir)


def _hand_over(data: Path, account: pwd.struct_passwd) -> None:
    """Gives a data directory and its content to the account. Raises RuntimeError for other full directories."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(data.iterdir()) and not (data / "lock").exists():
        raise RuntimeError(
            f"{data} is not empty, and is not a data directory of agentcontainer. Name another one with --data."
        )
    for path in (data, *data.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def runtime_dir(account: pwd.struct_passwd) -> Path:
    return Path(f"/run/user/{account.pw_uid}")


def _make_runtime_dir(account: pwd.struct_passwd) -> None:
    """For machines without systemd. With systemd, logind makes this directory when the account's manager starts."""
    directory = runtime_dir(account)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(directory, account.pw_uid, account.pw_gid)
