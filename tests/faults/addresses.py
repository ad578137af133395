"""Addresses where no vendor answers: nobody listens, nobody accepts, or whoever does cannot be trusted."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.faults.table import Address

_DAY = timedelta(days=1)


@contextlib.contextmanager
def hopeless_addresses(folder: Path) -> Iterator[Mapping[Address, str]]:
    """The base URL of each address, for as long as the block runs. Certificates are written to `folder`."""
    with contextlib.ExitStack() as stack:
        yield {
            Address.UNKNOWN_NAME: "http://no-such-vendor.invalid/v1",
            Address.REFUSING: f"http://127.0.0.1:{_refusing_port()}/v1",
            Address.SILENT: f"http://127.0.0.1:{stack.enter_context(_silent_port())}/v1",
            Address.TLS_PLAINTEXT: f"https://127.0.0.1:{stack.enter_context(_tls_port(None))}/v1",
            **{
                address: f"https://127.0.0.1:{stack.enter_context(_tls_port(_context(folder, address)))}/v1"
                for address in (Address.TLS_EXPIRED, Address.TLS_WRONG_NAME, Address.TLS_SELF_SIGNED)
            },
        }


def _refusing_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _silent_port() -> Iterator[int]:
    """A port whose queue is full: the kernel answers no further knock."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            knock = stack.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


@contextlib.contextmanager
def _tls_port(context: ssl.SSLContext | None) -> Iterator[int]:
    """A port that shakes hands with everybody, without a context in words that are no TLS."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    thread = threading.Thread(target=_shake_hands, args=(listener, context), daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _shake_hands(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            if context is None:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                connection.recv(65_536)
            else:
                context.wrap_socket(connection, server_side=True).recv(65_536)


def _context(folder: Path, address: Address) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    is_expired = address is Address.TLS_EXPIRED
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a vendor")])
    host = "vendor.example" if address is Address.TLS_WRONG_NAME else "localhost"
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now - _DAY if is_expired else now + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{address.name.lower()}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
