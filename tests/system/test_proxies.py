"""Behind a reverse proxy: a real nginx and a real Caddy with the files in docs/, with TLS and a path prefix."""

import datetime
import io
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agentcontainer_local.client import Client, NotTrusted, Refused
from tests.guest.conftest import free_port
from tests.system.conftest import SIMULATED, Server, serving
from tests.system.test_main_job import bash

DOCS = Path(__file__).parents[2] / "docs"
LARGE = 80 * 1024**2
NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {site}
}}
"""


@dataclass
class Proxied:
    url: str
    server: Server
    certificate: Path

    def client(self, **more) -> Client:
        return Client(self.url, self.server.key, **more)


class Behind(Server):
    """It says first the address that clients use, and then its own."""

    def start(self) -> None:
        super().start()
        self.url = self.process.stdout.readline().split("Listening on ")[1].strip()
        self.client.base_url = self.url


def certificate(folder: Path) -> tuple[Path, Path]:
    """For localhost, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def replaced(text: str, **instead: str) -> str:
    for old, new in instead.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, upstream: int, cert: Path, key: Path) -> list[str]:
    site = replaced(
        (DOCS / "nginx.conf").read_text(),
        **{
            "listen 443": f"listen 127.0.0.1:{port}",
            "server_name example.org": "server_name localhost",
            "/etc/ssl/certs/example.org.pem": str(cert),
            "/etc/ssl/private/example.org.key": str(key),
            "127.0.0.1:3000": f"127.0.0.1:{upstream}",
        },
    )
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, site=site))
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, upstream: int, cert: Path, key: Path) -> list[str]:
    site = replaced(
        (DOCS / "Caddyfile").read_text(),
        **{
            "example.org {": f"{{\n admin off\n auto_https off\n}}\nhttps://localhost:{port} {{\n\ttls {cert} {key}",
            "127.0.0.1:3000": f"127.0.0.1:{upstream}",
        },
    )
    (folder / "Caddyfile").write_text(site)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(request, tmp_path_factory) -> Iterator[Proxied]:
    program = request.param.__name__
    if not shutil.which(program):
        pytest.skip(f"there is no {program} here: apt-get install {program}")
    folder = tmp_path_factory.mktemp(program)
    pem, private = certificate(folder)
    port = free_port()
    url = f"https://localhost:{port}/agents"
    settings = {"AGENTCONTAINER_PUBLIC_URL": url, "AGENTCONTAINER_TRUSTED_PROXIES": "127.0.0.1"}
    with serving(folder / "data", Behind, **SIMULATED, **settings) as server:
        command = request.param(folder, port, int(server.url.rpartition(":")[2]), pem, private)
        env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "log").open("w") as log, subprocess.Popen(command, env=env, stderr=log) as running:
            try:
                for _ in range(300):
                    with socket.socket() as tried:
                        if tried.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    assert running.poll() is None, (folder / "log").read_text()
                    time.sleep(0.05)
                yield Proxied(url, server, pem)
            finally:
                running.terminate()


@pytest.fixture(autouse=True)
def trusted(proxied: Proxied, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(proxied.certificate))


def test_the_page_and_the_api_answer_below_the_path(proxied: Proxied):
    context = ssl.create_default_context(cafile=str(proxied.certificate))
    with httpx.Client(verify=context, trust_env=False, follow_redirects=True, timeout=60) as browser:
        page = browser.get(proxied.url)
        assert page.status_code == 200 and str(page.url) == proxied.url + "/"
        assert "text/html" in page.headers["content-type"]
        for path in ("/healthz", "/api/v1/openapi.yaml", "/docs"):
            assert browser.get(proxied.url + path).status_code == 200, path
        for script in {part.split('"')[0] for part in page.text.split('src="')[1:]}:
            assert browser.get(str(page.url.join(script))).status_code == 200, script
    with proxied.client() as client:
        assert client.get_account().id
    with Client(proxied.url, "ac_live_wrong") as client, pytest.raises(Refused) as refused:
        client.get_account()
    assert refused.value.status == 401


def test_a_large_file_goes_up_and_comes_down(proxied: Proxied):
    content = os.urandom(1024**2) * (LARGE // 1024**2)
    with proxied.client() as client:
        file, back = client.upload(content, filename="large.bin"), io.BytesIO()
        client.download_file(file.id, back)
        assert back.getvalue() == content
    prepared = proxied.server.post("/uploads/prepare", {"filename": "x"}, expect=201)
    assert prepared["uploadUrl"].startswith(f"{proxied.url}/api/v1/uploads/")


def test_events_are_live(proxied: Proxied):
    """What the agent does is told while it does it: the task would sleep for minutes."""
    with proxied.client() as client:
        task = client.create_task(
            "agt_standard_coding", instructions=bash("sleep 240"), overrides={"model": "scripted"}
        )
        for event in client.stream(task.id):
            if event.event == "activity.started":
                assert client.get_task(task.id).status == "running"
                client.cancel_task(task.id)
        assert client.get_task(task.id).status == "cancelled"


def test_a_certificate_that_is_not_trusted_is_said_to_be_so_at_once(proxied: Proxied, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    began = time.monotonic()
    with proxied.client() as client, pytest.raises(NotTrusted, match="SSL_CERT_FILE"):
        client.get_account()
    assert time.monotonic() - began < 5
    no_tls = proxied.server.url.replace("http://", "https://")
    with Client(no_tls, "ac_live_x") as client, pytest.raises(NotTrusted, match="http://"):
        client.get_account()
