"""Resolves host names, and decides which addresses may be connected to."""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from agentcontainer_local import hostnames
from agentcontainer_local.hostnames import Address


def resolved(host: str) -> list[Address]:
    """Asks the machine's resolver, once, and waits; raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def reachable(address: Address) -> bool:
    """Public, and not this machine itself, which may well have a public address."""
    return hostnames.is_public(address) and not is_own(address)


def is_own(address: Address) -> bool:
    """Only an address of this machine can be bound to: true for each interface, at this very moment."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


@dataclass(frozen=True)
class Outside:
    """Given to the program by whoever puts it together, so that a test can have an outside of its own."""

    resolve: Callable[[str], list[Address]] = resolved
    reachable: Callable[[Address], bool] = reachable


INTERNET = Outside()
