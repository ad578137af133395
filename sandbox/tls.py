"""Certificates for a vendor that is who it says, and for vendors that are not. Made anew at every start."""

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


class TlsVariant(StrEnum):
    """What is wrong with the certificate, if anything."""

    VALID = "valid"
    EXPIRED = "expired"
    WRONG_NAME = "wrong_name"
    SELF_SIGNED = "self_signed"


class Identity:
    """A server's certificate in one variant, and the authority that stands behind it."""

    def __init__(self, variant: TlsVariant, *, host: str) -> None:
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("Sandbox authority", authority_key, issuer=None, issuer_key=authority_key)
        key = ec.generate_private_key(ec.SECP256R1())
        is_own = variant is TlsVariant.SELF_SIGNED
        certificate = _certificate(
            "sandbox",
            key,
            issuer=None if is_own else authority,
            issuer_key=key if is_own else authority_key,
            host="elsewhere.test" if variant is TlsVariant.WRONG_NAME else host,
            lasts_until=datetime.now(UTC) + (-_DAY if variant is TlsVariant.EXPIRED else _DAY),
        )
        self.authority_pem = authority.public_bytes(serialization.Encoding.PEM)
        self._certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        self._key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def server_context(self) -> ssl.SSLContext:
        """What a server shows its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with _as_file(self._certificate_pem + self._key_pem) as path:
            context.load_cert_chain(path)
        return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Python reads a private key from a file only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "identity.pem"
        path.write_bytes(content)
        yield str(path)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    host: str | None = None,
    lasts_until: datetime | None = None,
) -> x509.Certificate:
    """A certificate for a host, or an authority's where there is none; its own issuer where there is no other."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - 10 * _DAY)
        .not_valid_after(lasts_until or datetime.now(UTC) + _DAY)
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
