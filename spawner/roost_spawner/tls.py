"""Internal TLS without a shared file system: a certificate for one session on one node.

JupyterHub would make an RSA key for each user on its event loop and keep it in its own folder,
where a second server of the same user takes its place.  Here the key is an elliptic one, made when
the job asks for its bundle, and is nowhere but in that answer and in the job.

The proxy checks a server's certificate against the name that the browser asked for, since Node
takes the name to check from the request's ``Host`` (Node's source, ``lib/_http_agent.js``,
``calculateServerName``); the hub checks it against the node's name.  Hence both are in it.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from certipy import Certipy  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

NOTEBOOKS_CA = "notebooks-ca"
"""JupyterHub's name for the authority of all single-user servers."""
ENVIRONMENT = {
    "JUPYTERHUB_SSL_KEYFILE": "@ROOST_DIR@/tls/server.key",
    "JUPYTERHUB_SSL_CERTFILE": "@ROOST_DIR@/tls/server.crt",
    "JUPYTERHUB_SSL_CLIENT_CA": "@ROOST_DIR@/tls/ca.crt",
}
"""What the server is told; the agent knows the directory."""
_LIFE = dt.timedelta(days=366)
_SKEW = dt.timedelta(hours=1)  # nodes' clocks differ


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs the sessions' certificates."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes = field(repr=False)


@functools.lru_cache(maxsize=4)
def _load(certificate: Path, key: Path, _stamp: int) -> Authority:
    # Checking an RSA key takes 40 ms of the hub's loop; this one JupyterHub has made itself.
    signer = serialization.load_pem_private_key(
        key.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True
    )
    if not isinstance(signer, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key} holds a key of a kind that is not used here")
    return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), signer)


def authority(location: str) -> Authority:
    """Return the authority that JupyterHub keeps for single-user servers.

    Parameters
    ----------
    location
        ``JupyterHub.internal_certs_location``.
    """
    files = Certipy(store_dir=location).store.get_record(NOTEBOOKS_CA)["files"]
    key = Path(files["key"])
    return _load(Path(files["cert"]), key, key.stat().st_mtime_ns)


def trust(bundles: Mapping[str, str]) -> str:
    """Return the certificates of those who may call a session's server, in PEM.

    Parameters
    ----------
    bundles
        ``JupyterHub.internal_trust_bundles``: files by component.
    """
    return Path(bundles[NOTEBOOKS_CA]).read_text()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: Authority | None,
    alt_names: Iterable[x509.GeneralName] = (),
) -> str:
    """Return a certificate in PEM; one that signs itself, without an issuer."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer = issuer.key if issuer else key
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if issuer:
        usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
    last = issuer.certificate.not_valid_after_utc if issuer else now + _LIFE
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + _LIFE, last))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names := list(alt_names):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(signer, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def alt_name(text: str) -> x509.GeneralName:
    """Return a name as certificates have it, of ``DNS:name``, ``IP:address`` or either alone."""
    kind, colon, value = text.partition(":")
    bare = value if colon and kind in {"DNS", "IP"} else text
    try:
        return x509.IPAddress(ipaddress.ip_address(bare.strip("[]")))
    except ValueError:
        return x509.DNSName(bare)


def session_files(
    issuer: Authority, trust: str, *, mark: str, names: Iterable[str]
) -> dict[str, str]:
    """Return what a session's server needs for internal TLS, by path below the agent's directory.

    Parameters
    ----------
    issuer
        The authority of single-user servers.
    trust
        Certificates, in PEM, of those who may call the server: hub and proxy.
    mark
        The session mark, for people who look at the certificate.
    names
        By which the server is called: the node's and the hub's public one.

    Returns
    -------
    dict
        Key and certificate of the server, its trust, and a pair with which the agent alone can ask
        the server whether it answers: it is trusted by this one server and by nobody else.
    """
    key, probe = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    alt_names = [alt_name(name) for name in dict.fromkeys(names)]
    probe_certificate = _certificate("roost-agent", probe, None)
    return {
        "tls/server.key": _pem(key),
        "tls/server.crt": _certificate(mark[-64:], key, issuer, alt_names),
        "tls/ca.crt": trust + probe_certificate,
        "tls/probe.key": _pem(probe),
        "tls/probe.crt": probe_certificate,
    }
