"""The system calls that containers may make: the distribution's list for containers, with more of them closed."""

import json
from pathlib import Path
from typing import Any

from agentcontainer_local.process import atomic_file

PROFILES = (Path("/etc/containers/seccomp.json"), Path("/usr/share/containers/seccomp.json"))
# The distribution's list allows nested containers. In a user namespace of its own a program has every capability, and
# reaches kernel code that most escapes begin with. Keyrings are not namespaced. If kernel.dmesg_restrict is 0,
# everybody can read the kernel's log.
CLOSED = frozenset({
    "unshare", "setns", "mount", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "umount", "umount2", "pivot_root", "keyctl", "add_key", "request_key", "reboot", "syslog",
    "clone", "clone3",          # clone is opened again, without namespaces; its flags in clone3 cannot be looked at
})  # fmt: skip
NAMESPACES = 0x7E020000  # CLONE_NEWNS, …CGROUP, …UTS, …IPC, …USER, …PID, …NET
PROCESSES_AND_THREADS = {
    "names": ["clone"], "action": "SCMP_ACT_ALLOW",
    "args": [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
}  # fmt: skip


def write_profile(directory: Path) -> Path | None:
    """Writes the profile. Returns None if the distribution has no such list; then Podman uses its built-in one."""
    given = next((path for path in PROFILES if path.is_file()), None)
    if given is None:
        return None
    profile = directory / "seccomp.json"
    atomic_file.write(profile, json.dumps(stricter(json.loads(given.read_text()))))
    return profile


def stricter(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile without the closed calls. They fail with the list's default error, ENOSYS."""
    allowed = [_without_closed(rule) if rule["action"] == "SCMP_ACT_ALLOW" else rule for rule in profile["syscalls"]]
    return {**profile, "syscalls": [*(rule for rule in allowed if rule["names"]), PROCESSES_AND_THREADS]}


def _without_closed(rule: dict[str, Any]) -> dict[str, Any]:
    return {**rule, "names": [name for name in rule["names"] if name not in CLOSED]}
