"""A small internet in namespaces of our own, run by `unshare --map-root-user --net --mount`, to try network_hook.sh on.

    container --- slirp4netns --- host (lo, 198.51.100.7, 192.168.77.1) --- neighbour (192.168.77.2, 203.0.113.9, …)

Prints one JSON object: {"before": {target: answer}, "after": {...}}, as seen from the container.
"""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

TARGETS = {
    "the host's loopback, by the gateway's name": ("10.99.99.2", 4001),
    "the host's loopback": ("127.0.0.1", 4001),
    "the host's public address": ("198.51.100.7", 4002),
    "the host's address in the local network": ("192.168.77.1", 4002),
    "a neighbour in the local network": ("192.168.77.2", 4003),
    "the metadata address": ("169.254.169.254", 4003),
    "a private network behind the neighbour": ("10.20.30.40", 4003),
    "another port of the resolver's address": ("10.99.99.3", 4002),
    "the host by an IPv4-mapped address": ("::ffff:192.168.77.1", 4002),
    "the public internet": ("203.0.113.9", 4003),
    "the resolver": ("10.99.99.3", 53),
}


def listen(address: str, port: int) -> socket.socket:
    server = socket.create_server((address, port))
    server.listen(50)
    return server


def knock(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=3) as stream:
            stream.settimeout(0.3)
            try:
                return "open" if stream.recv(1) else "closed"  # slirp4netns accepts first, and may close then
            except TimeoutError:
                return "open"
    except OSError as error:
        return error.strerror or "timed out"


def inside(pid: int, *words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(["nsenter", "-t", str(pid), "-n", *words], check=True, text=True, **more)


def look(pid: int) -> dict[str, str]:
    return json.loads(inside(pid, sys.executable, __file__, "look", capture_output=True).stdout)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def namespace() -> subprocess.Popen:
    started = subprocess.Popen(["unshare", "--net", "sleep", "60"], stdout=subprocess.DEVNULL)
    while Path(f"/proc/{started.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        time.sleep(0.01)
    return started


def main(hook: list[str]) -> None:
    resolv = Path(hook.pop(0))
    resolv.write_text("nameserver 192.168.77.1\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
    neighbour, container = namespace(), namespace()
    ip("link", "set", "lo", "up")
    ip("address", "add", "198.51.100.7/32", "dev", "lo")
    ip("link", "add", "name", "lan", "type", "veth", "peer", "name", "lan", "netns", str(neighbour.pid))
    ip("address", "add", "192.168.77.1/24", "dev", "lan")
    ip("link", "set", "lan", "up")
    for address in ("192.168.77.2/24", "203.0.113.9/32", "169.254.169.254/32", "10.20.30.40/32"):
        inside(neighbour.pid, "ip", "address", "add", address, "dev", "lan")
    inside(neighbour.pid, "ip", "link", "set", "lan", "up")
    ip("route", "add", "default", "via", "192.168.77.2")
    servers = [listen("127.0.0.1", 4001), listen("0.0.0.0", 4002), listen("192.168.77.1", 53)]  # the kernel accepts
    far = subprocess.Popen(["nsenter", "-t", str(neighbour.pid), "-n", sys.executable, __file__, "serve"])
    slirp = subprocess.Popen(
        ["slirp4netns", "-c", "--disable-host-loopback", "--cidr=10.99.99.0/24", str(container.pid), "tap0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while "tap0\t00000000" not in Path(f"/proc/{container.pid}/net/route").read_text():
        time.sleep(0.02)
    while knock("203.0.113.9", 4003) != "open":
        time.sleep(0.02)
    seen = {"before": look(container.pid)}
    state = json.dumps({"ociVersion": "1.0.2", "id": "it", "status": "creating", "pid": container.pid, "bundle": "/"})
    subprocess.run(hook, input=state, text=True, check=True)
    seen["after"] = look(container.pid)
    print(json.dumps(seen))
    for started in (slirp, far, neighbour, container):
        started.kill()
        started.wait()
    for server in servers:
        server.close()


if sys.argv[1] == "look":
    print(json.dumps({name: knock(*target) for name, target in TARGETS.items()}))
elif sys.argv[1] == "serve":
    served = listen("0.0.0.0", 4003)
    time.sleep(60)
else:
    main(sys.argv[1:])
