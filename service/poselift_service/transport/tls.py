"""TLS certificates of both ports, read and checked before the server listens."""

import ssl
from dataclasses import dataclass
from pathlib import Path


class InvalidTls(Exception):
    """A certificate or key cannot be used; the message is one sentence, without anything from the files."""


@dataclass(frozen=True)
class Tls:
    """Certificate and key of a port.

    Attributes:
        context: for HTTP, which is served with Python's `ssl`.
        certificate, key: PEM; the certificate with its chain.
        client_ca: PEM of the authorities of client certificates; None asks clients for none.
    """

    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes | None


def read_tls(certificate: Path, key: Path, client_ca: Path | None) -> Tls:
    """Read and check the files.

    Raises:
        InvalidTls: a file cannot be read or is not PEM, or the key does not match the certificate, or has a password.
    """
    read = Tls(_context(), _read(certificate), _read(key), None if client_ca is None else _read(client_ca))
    try:
        # Without the callback, OpenSSL asks for the password of a key on the terminal.
        read.context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidTls(f"The key in {key} is not that of the certificate in {certificate}.") from None
        raise InvalidTls(f"{certificate} and {key} are not a certificate and its key, in PEM, unencrypted.") from None
    if client_ca is not None:
        try:
            read.context.load_verify_locations(client_ca)
        except ssl.SSLError:
            raise InvalidTls(f"There are no certificates, in PEM, in {client_ca}.") from None
        read.context.verify_mode = ssl.CERT_REQUIRED
    return read


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidTls(f"{path} cannot be read: {error.strerror}.") from None
