"""Resolves host names, and decides which addresses are allowed."""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from agentcontainer_local import hostnames
from agentcontainer_local.hostnames import Address


def resolved(host: str) -> list[Address]:
    """The addresses of a name, from the machine's resolver. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def reachable(address: Address) -> bool:
    """Whether the address is public and not one of this machine's, which may be public too."""
    return hostnames.is_public(address) and not is_own(address)


def is_own(address: Address) -> bool:
    """Whether the address belongs to this machine: only then it can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


@dataclass(frozen=True)
class Outside:
    """The network outside. The program's creator provides it, so that tests can replace it."""

    resolve: Callable[[str], list[Address]] = resolved
    reachable: Callable[[Address], bool] = reachable


INTERNET = Outside()
