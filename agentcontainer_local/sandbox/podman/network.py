"""The network of a container: none, or the internet without the host and its networks. Each start verifies it."""

import json
import shutil
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from agentcontainer_local.process import atomic_file
from agentcontainer_local.sandbox.errors import SandboxError, Unwalled

ANNOTATION = "agentcontainer.network"
HOOK = Path(__file__).with_name("network_hook.sh")
HOOK_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# not slirp4netns's default, 10.0.2.0/24, which is often the host's own network in virtual machines
SUBNET = "10.99.99.0/24"
# Closed in addition to the host's own addresses and networks, which the hook finds. All of IPv6 is closed.
RANGES = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_REJECT = 0x0200  # RTF_REJECT in /proc/net/route


def namespace(network: str, driver: str | None) -> dict[str, Any]:
    """The part of a create request that configures the network."""
    if network == "none":
        return {"netns": {"nsmode": "none"}}
    if driver is None:
        raise SandboxError("internet access needs slirp4netns (Podman 4) or passt (Podman 5): install it")
    return {
        "netns": {"nsmode": driver},
        "network_options": {driver: _OPTIONS[driver]},
        # The host's nameservers and search domains can be internal, so the container must not see them.
        "dns_server": [_RESOLVER[driver]],
        "dns_search": ["."],
    }


# With its own address, pasta has no route into the host's network. `none` disables its name for the host, 169.254.1.2.
_OPTIONS = {
    "slirp4netns": ["allow_host_loopback=false", "enable_ipv6=false", f"cidr={SUBNET}"],
    "pasta": ["-a", "10.99.99.100", "-n", "24", "-g", "10.99.99.2", "--map-guest-addr", "none"],
}
_RESOLVER = {"slirp4netns": "10.99.99.3", "pasta": "169.254.1.1"}


def driver(podman_version: str) -> str | None:
    """Podman 5 works with pasta. Podman 4 works with slirp4netns (4.3 only with that)."""
    if int(podman_version.split(".")[0]) >= 5 and shutil.which("pasta"):
        return "pasta"
    return "slirp4netns" if shutil.which("slirp4netns") else None


def write_hook(directory: Path, driver: str | None) -> None:
    """Writes the hook's configuration for Podman. /bin/sh runs the hook, because packages lose mode bits."""
    directory.mkdir(exist_ok=True)
    hook = {
        "version": "1.0.0",
        "hook": {
            "path": "/bin/sh",
            "args": [
                "sh",
                str(HOOK),
                str(directory),
                "10.99.99.2",
                _RESOLVER.get(driver or "slirp4netns"),
                SUBNET,
                *RANGES,
            ],
            "env": [f"PATH={HOOK_PATH}"],
        },
        "when": {"annotations": {f"^{ANNOTATION.replace('.', '[.]')}$": "^internet$"}},
        "stages": ["createRuntime"],
    }
    atomic_file.write(directory / "agentcontainer-walls.json", json.dumps(hook))


def hook_error(directory: Path, container_id: str) -> str:
    """Takes the error that the hook wrote to stderr; empty if it did not fail. The OCI runtime does not report it."""
    file = directory / f"{container_id}.error"
    try:
        said = file.read_text(errors="replace").strip()
        file.unlink()
    except OSError:
        return ""
    return said[-500:]


def prove(pid: int, network: str) -> None:
    """Raises Unwalled unless the network namespace of this process is as `network` requires.

    Reads /proc between init and start, before any program of the container runs. The check is needed because Podman
    silently ignores a wrong hooks directory.
    """
    if not Path(f"/proc/{pid}/net").exists():
        raise SandboxError("not started: its first process is gone, or Podman is wrong about which it is")
    if network == "none":
        found = _devices(pid)
        if found != {"lo"}:
            raise Unwalled(f"not started: the container must have no network device, but has {sorted(found)}")
        return
    open_ranges = set(map(IPv4Network, RANGES)) - _unreachable(pid)
    if open_ranges:
        raise Unwalled(
            "internet access is refused here: Podman did not run the hook that closes the host and the local networks "
            f"({len(open_ranges)} of {len(RANGES)} ranges are open). If AGENTCONTAINER_PODMAN_SOCKET names your own "
            "service, leave it out: the service that is started then has the hook."
        )


def _devices(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


def _unreachable(pid: int) -> set[IPv4Network]:
    rows = [line.split() for line in Path(f"/proc/{pid}/net/route").read_text().splitlines()[1:]]
    return {_network(row[1], row[7]) for row in rows if int(row[3], 16) & _REJECT}


def _network(address: str, mask: str) -> IPv4Network:
    # /proc prints an address that is in network byte order as an integer of this machine
    host = int(address, 16).to_bytes(4, sys.byteorder)
    return IPv4Network((host, int(mask, 16).bit_count()))
