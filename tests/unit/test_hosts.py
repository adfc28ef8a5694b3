"""Names that try to cheat, and addresses that are not what they seem."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local import hostnames

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, min_size=1, max_size=5),
    st.from_regex(r"[a-z][a-z0-9]{1,8}", fullmatch=True),
)


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("example.org.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("ｅxample。org", "example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\u200bexample.org", "example.org"),
    ],
)
def test_one_host_has_one_name_however_it_is_written(written: str, known: str):
    assert hostnames.name(written) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "localhost",
        "org",
        "a..org",
        ".example.org",
        "example.org..",
        "-a.org",
        "a-.org",
        "a_b.org",
        "a b.org",
        "evil.org\0.example.org",
        "evil.org\n.example.org",
        "evil.org%00.example.org",
        "user@example.org",
        "a/b.org",
        "a\\b.org",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "１２７.0.0.1",
        "127.0.0.1.",
        "::1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "::ffff:7f00:1",
        "example.org#.evil.org",
        "a" * 64 + ".org",
        ".".join(["a" * 60] * 5),
        "example.0x",
        "xn--a\u0301.org",
        "*.example.org",
    ],
)
def test_what_is_no_full_name_of_a_host_is_refused(text: str):
    with pytest.raises(ValueError):
        hostnames.name(text)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "*.org",
        "*.*.example.org",
        "a.*.org",
        "*example.org",
        "example.org:",
        "example.org:0",
        "example.org:65536",
        "example.org:+443",
        "example.org:443:443",
        "example.org:٤٤٣",
        "https://example.org",
        "example.org/path",
        "10.0.0.1",
        "*.127.0.0.1",
        "example.org: 443",
        "",
    ],
)
def test_what_is_no_host_to_allow_is_refused(text: str):
    with pytest.raises(ValueError):
        hostnames.allowed(text)


@given(NAMES, NAMES, st.integers(1, 65535))
def test_a_host_is_allowed_by_its_own_name_and_ports_alone(name: str, other: str, port: int):
    entry = hostnames.allowed(name)
    assert entry.covers(name, port) == (port in (80, 443))
    assert hostnames.allowed(f"{name}:{port}").covers(name, port)
    assert not hostnames.allowed(f"{name}:{port}").covers(name, port % 65535 + 1)
    assert entry.covers(other, 443) == (other == name)


@given(NAMES, NAMES, LABELS)
def test_a_wildcard_stands_for_whole_labels_and_never_for_none(name: str, front: str, label: str):
    entry = hostnames.allowed(f"*.{name}")
    assert entry.covers(f"{label}.{name}", 443) and entry.covers(f"{front}.{name}", 443)
    assert not entry.covers(name, 443)
    assert not entry.covers(f"{label}{name}", 443) or f"{label}{name}".endswith(f".{name}")
    assert not entry.covers(f"{name}.{front}", 443) or f"{name}.{front}".endswith(f".{name}")


@given(st.text(max_size=40), NAMES)
def test_no_text_becomes_a_name_that_dns_would_not_take(text: str, name: str):
    for tried in (text, f"{text}.{name}", f"{name}{text}", f"{name}:{text}"):
        try:
            host, port = hostnames.destination(tried, 80)
        except ValueError:
            continue
        assert hostnames.name(host) == host and 0 < port < 65536
        assert all(hostnames.LABEL.fullmatch(label) for label in host.split("."))
        with pytest.raises(ValueError):
            ip_address(host)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "192.0.0.170",
        "203.0.113.9",
        "::",
        "::1",
        "::127.0.0.1",
        "fe80::1",
        "fe80::1%lo",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
    ],
)
def test_an_address_that_is_not_public_is_known(text: str):
    assert not hostnames.is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.32.0.1",
        "192.169.0.1",
        "100.128.0.1",
        "169.253.1.1",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_a_public_address_is_known(text: str):
    assert hostnames.is_public(ip_address(text))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_no_more_public_in_a_disguise(address: IPv4Address):
    mapped, nat64 = (IPv6Address(int(IPv6Address(net)) | int(address)) for net in ("::ffff:0:0", "64:ff9b::"))
    assert hostnames.is_public(mapped) == hostnames.is_public(nat64) == hostnames.is_public(address)
    assert not hostnames.is_public(address) or address.is_global
    assert not hostnames.is_public(IPv6Address((0x2002 << 112) | (int(address) << 80)))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_no_ipv6_address_is_public_that_python_calls_private(address: IPv6Address):
    assert not hostnames.is_public(address) or (address.is_global and not address.is_multicast)
