"""`agentcontainer install-service`: the server as a systemd unit, shown before it is written."""

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import JsonFlag, ending
from agentcontainer_local.process import entry_point, resources, service_account

NAME = "agentcontainer.service"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What is not here, and why. PrivateTmp, ProtectSystem, ProtectHome, ReadWritePaths, PrivateDevices, Protect*: each
# gives the service a mount namespace of its own, in which the pause process of rootless Podman would live; other
# commands of the account then see other mounts. NoNewPrivileges, RestrictSUIDSGID: newuidmap is setuid.
# RestrictNamespaces, SystemCallFilter, MemoryDenyWriteExecute: containers and Node need what these take away; each
# task has its own filter. LockPersonality, RestrictRealtime: systemd sets no-new-privileges for them where the service
# is not root's (252 with User= too; `systemctl show` then still says no). OOMScoreAdjust: agents would inherit it.
# Delegate: Podman asks the account's own systemd for a cgroup for each container, in user.slice.
UNIT = """\
[Unit]
Description=AgentContainer API on this machine
Documentation=https://github.com/agentcontainer/agentcontainer-local
{after}

[Service]
Type=notify
NotifyAccess=all
# The first start may have to fetch Node and Pi.
TimeoutStartSec=15min
{account}ExecStart={command}
Environment=PYTHONUNBUFFERED=1
{environment}Restart=on-failure
RestartSec=2
# SIGTERM leaves agents at work: they outlive a restart of the server, and it finds them again.
KillMode=process
TimeoutStopSec=30
TasksMax=infinity
LimitNOFILE=524288
OOMPolicy=continue
UMask=0077
SyslogIdentifier=agentcontainer
KeyringMode=private
{walls}
[Install]
WantedBy={wanted}
"""

# The capabilities are what newuidmap, which is setuid, takes to write a map (tried: less fails). A user namespace has
# its own set.
SYSTEM_WALLS = """\
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_DAC_OVERRIDE CAP_SYS_ADMIN
"""


def add_to(app: App) -> None:
    app.command(
        "install-service", example=("install-service --show", "install-service --flags '--port 3001 --max-running 8'")
    )(install_service)


def install_service(
    system: Annotated[
        bool,
        typer.Option(
            "--system",
            help="System unit, written as root, for the account agentcontainer. By default, a unit of your account.",
        ),
    ] = False,
    flags: Annotated[str, typer.Option(metavar="FLAGS", help="Flags of `serve`, in quotes.")] = "",
    environment_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with variables, such as provider keys. Make it readable by root and the account only.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write the unit without asking.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show the unit and write nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Run the server as a systemd service. Shows the unit, then writes and starts it. It keeps running after you log
    out."""
    with ending(json) as out:
        system = system or os.getuid() == 0
        account = service_account.there() if system else pwd.getpwuid(os.getuid())
        unit, path = _unit(system, account, flags, environment_file), _path(system)
        steps = _steps(system, account)
        if not json:
            out.say(f"# {path}\n{unit}")
            for step in steps:
                out.note(f"then: {shlex.join(step)}", "dim")
        if not show:
            _may_write(system, yes)
            if account is None:
                _run(steps[0], "No unit was written")
                account = service_account.find()
                unit = _unit(system, account, flags, environment_file)
            _write(unit, path, _steps(system, account))
        if json:
            out.json({"path": str(path), "unit": unit, "commands": steps, "written": not show})
        elif not show:
            out.note(
                "The service runs. If it made an API key, the key is in its log. `agentcontainer keys create`"
                " makes more."
            )


def _may_write(system: bool, yes: bool) -> None:
    if not Path("/run/systemd/system").is_dir():
        raise Stop(
            Exit.FAILED,
            "systemd does not run on this machine. Show the unit with --show, and use it on a machine with systemd.",
        )
    if system and os.getuid() != 0:
        raise Stop(Exit.FAILED, "A system unit needs root. Run this with sudo.")
    if not yes and not (sys.stdin.isatty() and typer.confirm("Write and start it?", err=True)):
        raise Stop(Exit.FAILED, "Nothing was written. --yes writes the unit without asking.")


def _write(unit: str, path: Path, steps: list[list[str]]) -> None:
    linger, *steps = steps
    if not Path("/var/lib/systemd/linger", linger[-1]).exists() and subprocess.run(linger).returncode:
        raise Stop(
            Exit.FAILED,
            f"Nothing was written. Run sudo {shlex.join(linger)}, then this again. Otherwise the account's"
            " systemd and all containers stop when the account logs out.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(unit)
    for step in steps:
        _run(step, f"{path} is written, but the service does not run")


def _run(step: list[str], otherwise: str) -> None:
    """Raises Stop with what the service has said last, where it was started and failed."""
    if subprocess.run(step, stdout=sys.stderr).returncode == 0:
        return
    scope = ["--user"] if "--user" in step else []
    said = ""
    if "restart" in step:
        log = ["journalctl", *scope, "-u", NAME, "-n", "15", "--no-pager", "-o", "cat"]
        said = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    raise Stop(
        Exit.FAILED, f"{otherwise}: `{shlex.join(step)}` failed." + (f" Its log ends with:\n{said}" if said else "")
    )


def _path(system: bool) -> Path:
    if system:
        return Path("/etc/systemd/system", NAME)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / NAME


def _unit(system: bool, account: pwd.struct_passwd | None, flags: str, environment_file: Path | None) -> str:
    """Without the account yet, its uid is left to be filled in."""
    name, uid = (account.pw_name, account.pw_uid) if account else (service_account.name(), "UID")
    command = " ".join(_word(word) for word in [*_program(), "serve", *shlex.split(flags)])
    runtime = f"Environment=XDG_RUNTIME_DIR=/run/user/{uid}\n" if system else ""
    paths = f"Environment={_word('PATH=' + (SYSTEM_PATH if system else os.environ.get('PATH') or SYSTEM_PATH))}\n"
    return UNIT.format(
        after=f"Wants=network-online.target user@{uid}.service\nAfter=network-online.target user@{uid}.service"
        if system
        else "After=default.target",
        account=f"User={name}\n" if system else "",
        command=command,
        environment=paths + runtime + (f"EnvironmentFile={environment_file.absolute()}\n" if environment_file else ""),
        walls=SYSTEM_WALLS if system else "",
        wanted="multi-user.target" if system else "default.target",
    )


def _program() -> list[str]:
    checkout = resources.CHECKOUT
    if (checkout / "dev").is_file():  # it finds the environment, also after that was made anew
        return [str(checkout / "dev"), "exec", "--", "agentcontainer"]
    found = None if entry_point.FROZEN else shutil.which("agentcontainer")
    return [str(Path(found).absolute())] if found else entry_point.installed()


def _word(word: str) -> str:
    """As systemd reads it: no specifier, no variable, spaces in quotes."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not word or any(c.isspace() or c in "'\";" for c in word) else escaped


def _steps(system: bool, account: pwd.struct_passwd | None) -> list[list[str]]:
    scope = [] if system else ["--user"]
    return [
        *([] if account else [service_account.making()]),
        ["loginctl", "enable-linger", account.pw_name if account else service_account.name()],
        ["systemctl", *scope, "daemon-reload"],
        ["systemctl", *scope, "enable", NAME],
        ["systemctl", *scope, "restart", NAME],
    ]
