"""Allowed hosts with a real agent: curl, Python and Node in its container, and real HTTP and TLS servers outside."""

import datetime
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.system.conftest import Server, serving
from tests.system.outside import FAR
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append((self.headers["Host"].split(":")[0], self.path))
        away = self.path == "/away"
        self.send_response(302 if away else 200)
        if away:
            self.send_header("Location", f"http://elsewhere.example:{self.server.server_port}/")
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"far end")

    def log_message(self, *_):
        pass


class Far:
    """A plain server and one with TLS, out there."""

    def __init__(self, folder: Path):
        self.certificate, key = certificate("good.example.org")
        (folder / "both.pem").write_bytes(self.certificate + key)
        self.plain, self.tls = (ThreadingHTTPServer((FAR, 0), Handler) for _ in range(2))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "both.pem")
        self.tls.socket = context.wrap_socket(self.tls.socket, server_side=True)
        for server in (self.plain, self.tls):
            server.heard = []
        self.threads = [threading.Thread(target=server.serve_forever) for server in (self.plain, self.tls)]
        for thread in self.threads:
            thread.start()

    @property
    def heard(self) -> set[tuple[str, str]]:
        return {*self.plain.heard, *self.tls.heard}

    @property
    def allowed(self) -> list[str]:
        return [f"*.example.org:{server.server_port}" for server in (self.plain, self.tls)]

    def close(self) -> None:
        for server, thread in zip((self.plain, self.tls), self.threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def certificate(host: str) -> tuple[bytes, bytes]:
    """One that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


@pytest.fixture(scope="module")
def far(tmp_path_factory) -> Iterator[Far]:
    far = Far(tmp_path_factory.mktemp("far"))
    yield far
    far.close()


class OutsideServer(Server):
    command = (sys.executable, "-m", "tests.system.outside")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("egress") / "data", OutsideServer) as running:
        yield running


def denied(server: Server, task_id: str) -> set[tuple]:
    events = (event["data"] for event in server.history(task_id) if event["event"] == "notice")
    return {(event["host"], event["port"]) for event in events if event["kind"] == "egress_denied"}


def test_an_agents_tools_reach_the_allowed_hosts_by_http_and_tls(server: Server, far: Far):
    plain, tls = (f"good.example.org:{of.server_port}" for of in (far.plain, far.tls))
    python = f"import urllib.request as u; print(u.urlopen('https://{tls}/python').read())"
    node = f"fetch('https://{tls}/node').then(async (r) => console.log(await r.text()))"
    task = server.run(
        bash(
            f"curl -sS http://{plain}/curl; curl -sS --cacert task_files/ca.pem https://{tls}/tls",
            f'SSL_CERT_FILE=task_files/ca.pem python3 -c "{python}"',
            f'NODE_EXTRA_CA_CERTS=task_files/ca.pem /opt/agentcontainer/libexec/node -e "{node}"',
            "ls /sys/class/net; grep -c example.org task/HARNESS.md",
        ),
        files=[server.upload("ca.pem", far.certificate)],
        allowedHosts=far.allowed,
    )
    assert task["status"] == "finished", task["error"]
    said = server.said(task["id"])
    assert said.count("far end") == 4, said
    assert {path for _, path in far.heard} >= {"/curl", "/tls", "/python", "/node"}
    assert said.splitlines()[-2:] == ["lo", "1"], "there is still no network device, and HARNESS.md names the hosts"
    assert denied(server, task["id"]) == set()
    assert task["overrides"]["allowedHosts"] == far.allowed


def test_what_is_not_allowed_is_refused_and_an_event_with_host_and_port(server: Server, far: Far):
    port, before = far.plain.server_port, far.heard
    own = server.url.rpartition(":")[2]
    tried = [
        "elsewhere.example",
        "private.example.org",
        "own.example.org",
        "metadata.example.org",
        "EVIL.example.com",
        "good.example.org.evil.com",
    ]
    raw = ["2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]", r"good.example.org\0.evil.com"]
    connect = r"exec 3<>/dev/tcp/127.0.0.1/7412; printf 'CONNECT {}:443 HTTP/1.1\r\nhost: a\r\n\r\n' >&3; head -1 <&3"
    task = server.run(
        bash(
            *(f"curl -sS -m 10 http://{host}:{port}/; curl -sS -m 10 -p https://{host}:{port}/" for host in tried),
            f"curl -sS -m 10 --proxy http://127.0.0.1:7412 http://127.0.0.1:{own}/; curl -sS -m 9 http://good.example.org/",
            f"curl -sSL -m 10 http://good.example.org:{port}/away; echo code $?",
            "curl -sS -m 5 --noproxy '*' http://127.0.0.9/; curl -sS -m 5 --noproxy '*' http://1.1.1.1/",
            *(connect.format(host) for host in raw),
        ),
        allowedHosts=far.allowed,
    )
    assert task["status"] == "finished", task["error"]
    seen = denied(server, task["id"])
    for host in (
        "elsewhere.example",
        "private.example.org",
        "own.example.org",
        "metadata.example.org",
        "evil.example.com",
        "good.example.org.evil.com",
    ):
        assert (host, port) in seen, seen
    assert ("good.example.org", 80) in seen, "another port than the one that is allowed"
    for text in ("2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]", r"good.example.org\x00.evil.com"):
        assert any(text in host for host, _ in seen), (text, seen)
    assert far.heard - before == {("good.example.org", "/away")}, "the redirect was the client's to follow, and refused"
    said = server.said(task["id"])
    assert "10.0.0.1" not in said, "what a name resolves to is not for the agent"


def test_without_allowed_hosts_nothing_listens_for_the_tools(server: Server, far: Far):
    task = server.run(
        bash(
            "env | grep -ci proxy; ls /run/agentcontainer; curl -sS -m 5 --proxy http://127.0.0.1:7412 http://good.example.org/"
        )
    )
    said = server.said(task["id"])
    assert said.startswith("0\n") and "egress.sock" not in said and "Failed to connect" in said
