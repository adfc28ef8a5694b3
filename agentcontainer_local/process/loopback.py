"""Detects names and addresses of this machine's loopback, which a proxy can't reach."""

import ipaddress
import socket
from pathlib import Path

HOSTS_FILE = Path("/etc/hosts")


def is_here(host: str, hosts_file: Path = HOSTS_FILE) -> bool:
    """Whether the host is the loopback. No name server is asked, because it may be slow or belong to somebody else.

    Addresses like `127.1` are read as a resolver does. `localhost.localdomain`, `ip6-localhost` and this machine's own
    name are found in the hosts file.
    """
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return _is_loopback(address) if address else any(map(_is_loopback, _listed(name, hosts_file)))


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, UnicodeError):
        return None


def _is_loopback(address: Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def _listed(name: str, hosts_file: Path) -> list[Address]:
    """The addresses of a name in the hosts file."""
    try:
        lines = hosts_file.read_text(errors="replace").splitlines()
    except OSError:
        return []
    entries = [line.partition("#")[0].lower().split() for line in lines]
    return [address for first, *names in filter(None, entries) if name in names and (address := _address(first))]
