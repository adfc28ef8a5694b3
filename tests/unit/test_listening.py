"""Where the server listens."""

import contextlib
import socket

import pytest

from agentcontainer_local import app
from tests.unit.test_middleware import settings_of


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.fixture
def listening():
    with contextlib.ExitStack() as stack:

        def listen(**given) -> list[socket.socket]:
            return [stack.enter_context(one) for one in app._listening(settings_of(**given))]

        yield listen


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "0::0", "0:0:0:0:0:0:0:0"])
def test_every_address_is_of_both_families(listening, host):
    opened = listening(host=host, port=0)
    port = opened[0].getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, port), timeout=10) as client:
            taken, peer = next(one for one in opened if one.family == client.family).accept()
            assert peer[0] == address, "an IPv4 client does not look like an IPv6 one"
            taken.close()


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_an_ipv4_address_is_one_socket(listening, host, address):
    opened = listening(host=host, port=0)
    assert len(opened) == 1
    socket.create_connection((address, opened[0].getsockname()[1]), timeout=10).close()


def test_a_port_in_use_is_an_error_that_names_it(listening):
    port = listening(host="127.0.0.1", port=0)[0].getsockname()[1]
    with pytest.raises(RuntimeError, match=str(port)):
        app._listening(settings_of(host="127.0.0.1", port=port))
