"""The certificates of one run: an authority of its own, and a server certificate by it.

The private key of the authority is never written: nobody else can make a certificate that the
program trusts.
"""

import datetime as dt
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from requests.utils import DEFAULT_CA_BUNDLE_PATH

_LIFE: Final = dt.timedelta(days=7)
_BEFORE: Final = dt.timedelta(hours=1)
"""Clocks of a container engine's machine may be behind."""


class RunCertificates:
    """Files in `folder`: `authority.pem`, and `bundle.pem` with the public authorities as well."""

    def __init__(self, folder: Path, server_name: str) -> None:
        """Make an authority, and a certificate for a server that is called `server_name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("Slidelane, for one run of a program")
        authority = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        pem = authority.public_bytes(serialization.Encoding.PEM)
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(pem)
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(Path(DEFAULT_CA_BUNDLE_PATH).read_bytes().rstrip() + b"\n" + pem)
        self.context = _server_context(folder, server_name, name, key)


def _server_context(
    folder: Path, server_name: str, authority: x509.Name, authority_key: ec.EllipticCurvePrivateKey
) -> ssl.SSLContext:
    """Return the TLS context of the server; its key is on the disk only while this is made."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_key = authority_key.public_key()
    certificate = (
        _builder(_named(server_name), authority, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.touch(mode=0o600)
    try:
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
    finally:
        file.unlink()
    return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Return the begin of a certificate that is valid from a little ago on."""
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _LIFE)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
