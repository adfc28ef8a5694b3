"""Host names: parsed strictly, and matched against allowed ones; and which addresses are public.

An allowed host is `example.org`, `*.example.org` (any name below it, but not itself) or either with a port; without
one, the ports 80 and 443 are meant.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import idna

Address = IPv4Address | IPv6Address

WEB_PORTS = frozenset((80, 443))
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What a resolver reads as an address, in decimal, octal or hex: 2130706433, 127.1, 0177.0.0.1, 0x7f.0.0.1
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
PORT = re.compile(r"[1-9][0-9]{0,4}")

# IANA's special-purpose registries, written out: what Python's `is_global` means by them depends on its version.
NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
PUBLIC6 = IPv6Network("2000::/3")
# Teredo and others, documentation, 6to4 (which holds an IPv4 address, any)
NOT_PUBLIC6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Allowed:
    name: str  # in A-labels, lower case
    below: bool  # the names below it, instead of itself
    ports: frozenset[int] = WEB_PORTS

    def covers(self, host: str, port: int) -> bool:
        return port in self.ports and (host.endswith("." + self.name) if self.below else host == self.name)


def name(text: str) -> str:
    """A host's name as DNS knows it: lower case, A-labels, no dot at the end; two labels or more, and no address.

    Raises ValueError.
    """
    try:
        host = idna.encode(text, uts46=True).decode() if not text.isascii() else text.lower()
    except idna.IDNAError as error:
        raise ValueError(f"{text!r} is not a host name: {error}") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(labels) < 2 or len(host) > 253 or not all(map(LABEL.fullmatch, labels)):
        raise ValueError(f"{text!r} is not a full host name, such as api.example.org")
    if NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{text!r} is an IP address. Give a host name")
    return host


def port(text: str) -> int:
    """Raises ValueError."""
    if not PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port number")
    return int(text)


def allowed(text: str) -> Allowed:
    """One entry of a list of allowed hosts; raises ValueError."""
    host, colon, number = text.partition(":")
    below = host.startswith("*.")
    return Allowed(name(host.removeprefix("*.")), below, frozenset((port(number),)) if colon else WEB_PORTS)


def destination(text: str, default_port: int | None = None) -> tuple[str, int]:
    """`host:port` as a client asks for it; raises ValueError."""
    host, colon, number = text.partition(":")
    if not colon and default_port is not None:
        return name(host), default_port
    return name(host), port(number)


def is_allowed(entries: Iterable[Allowed], host: str, port: int) -> bool:
    return any(entry.covers(host, port) for entry in entries)


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet, and what it may stand for is one too."""
    if address.version == 4:
        return not any(address in network for network in NOT_PUBLIC)
    if address in MAPPED or address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in PUBLIC6 and not any(address in network for network in NOT_PUBLIC6)
