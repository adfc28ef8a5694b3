"""Certificates of nodes: each node has one from the store's own authority, with the node's name in the scheduler.

The directory `nodes/` in the data directory has the authority's key and certificate, the host's, and the certificate of
each allowed node. Removing a node's file revokes its access immediately.
"""

import re
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agentcontainer_local.process import atomic_file
from agentcontainer_local.sandbox.placed.wire import HOST_NAME

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")  # like a hostname
YEARS = timedelta(days=3650)
EARLIER = timedelta(hours=1)  # tolerance for nodes whose clock is behind

Key = ec.EllipticCurvePrivateKey


class Authority:
    def __init__(self, data: Path):
        self.folder = data / "nodes"
        self.certificate = self.folder / "authority.pem"
        self.host = self.folder / "host.pem"  # key and certificate

    def make(self) -> None:
        """Creates the authority and the host's certificate if they do not exist."""
        if self.host.exists():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agentcontainer nodes")])
        limits = x509.BasicConstraints(ca=True, path_length=0)
        own = _builder(name, name, key).add_extension(limits, critical=True).sign(key, hashes.SHA256())
        atomic_file.write(self.folder / "authority.key", _private(key), 0o600, synced=True)
        atomic_file.write(self.certificate, _public(own), 0o600, synced=True)
        atomic_file.write(self.host, b"".join(self._issued(HOST_NAME, server=True)), 0o600, synced=True)

    def add(self, name: str) -> bytes:
        """Adds a node and returns its bundle in PEM: its key and certificate, and the authority's certificate. The key
        is not stored. Raises ValueError for an invalid name, and FileExistsError if the node exists."""
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is not a node's name: use letters, digits, dots and hyphens, as the engine does."
            )
        self.make()
        if self._of(name).exists():
            raise FileExistsError(name)
        key, certificate = self._issued(name, server=False)
        atomic_file.write(self._of(name), certificate, 0o600, synced=True)
        return key + certificate + self.certificate.read_bytes()

    def remove(self, name: str) -> None:
        """Removes a node. Raises FileNotFoundError if it does not exist."""
        if not NAME.fullmatch(name):
            raise FileNotFoundError(name)
        self._of(name).unlink()

    def nodes(self) -> list[tuple[str, datetime]]:
        """The names of the allowed nodes, and when they were added."""
        files = sorted(self.folder.glob("*.crt"))
        return [(file.stem, datetime.fromtimestamp(file.stat().st_mtime, UTC)) for file in files]

    def allows(self, certificate: bytes) -> str | None:
        """The node with this certificate, in DER, whose authority was checked by TLS. None if the node is not allowed,
        or no longer."""
        names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[0].value) if len(names) == 1 else ""
        try:
            known = self._of(name).read_text() if NAME.fullmatch(name) else ""
        except FileNotFoundError:
            return None
        return name if known and ssl.PEM_cert_to_DER_cert(known) == certificate else None

    def _of(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def _issued(self, name: str, server: bool) -> Iterable[bytes]:
        """The key and certificate of a new identity."""
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        authority = serialization.load_pem_private_key((self.folder / "authority.key").read_bytes(), None)
        assert isinstance(authority, Key)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(subject, issuer.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return _private(key), _public(builder.sign(authority, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + YEARS)
    )


def _private(key: Key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
