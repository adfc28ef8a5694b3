"""`serve`, put together with an outside of the tests' own: one address that counts as public, and names for it.

Nothing on a test machine has a public address, and no setting of the product opens a way to others.
"""

import os
import sys
from ipaddress import ip_address
from pathlib import Path

import uvloop

from agentcontainer_local import app, egress
from agentcontainer_local.egress import resolver
from agentcontainer_local.settings import from_environment

FAR = "127.0.0.9"
NAMES = {
    "good.example.org": FAR,
    "other.example.org": FAR,
    "elsewhere.example": FAR,
    "private.example.org": "10.0.0.1",
    "own.example.org": "127.0.0.1",
    "metadata.example.org": "169.254.169.254",
}


def resolve(host: str) -> list:
    if host not in NAMES:
        raise OSError("unknown")
    return [ip_address(NAMES[host])]


def reachable(address) -> bool:
    return str(address) == FAR or resolver.reachable(address)


def announce(program: app.Program, url: str) -> None:
    print(f"the server is ready at {url} ", flush=True)


if __name__ == "__main__":
    settings = from_environment(os.environ, data=Path(sys.argv[sys.argv.index("--data") + 1]), port=0)
    uvloop.run(app.serve(settings, os.environ, announce, egress.Outside(resolve, reachable)))
