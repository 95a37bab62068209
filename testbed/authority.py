"""The testbed's certificate authority.  Made with openssl: the standard library cannot sign."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def _openssl(*arguments: str, give: str | None = None) -> None:
    subprocess.run(
        ["openssl", *arguments], check=True, capture_output=True, text=True, input=give, timeout=60
    )


def make_authority(folder: Path) -> None:
    """Make a certificate authority in `folder`, unless it holds one."""
    if (folder / "ca.crt").exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, draft = folder / "ca.key", folder / "ca.crt.new"
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(draft), "-days", "3650"),
        *("-subj", "/CN=Roost testbed authority"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    key.chmod(0o600)
    draft.rename(folder / "ca.crt")


def make_certificate(authority: Path, folder: Path, names: list[str]) -> None:
    """Write ``host.crt`` and ``host.key`` (0600) for a server of these names into `folder`."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    key, request, certificate = folder / "host.key", folder / "host.csr", folder / "host.crt"
    extensions = folder / "host.ext"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    extensions.write_text(
        f"subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n"
        "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(request), "-subj", f"/CN={names[0]}"),
    )
    key.chmod(0o600)
    _openssl(
        *("x509", "-req", "-in", str(request), "-out", str(certificate), "-days", "3650"),
        *("-CA", str(authority / "ca.crt"), "-CAkey", str(authority / "ca.key")),
        *("-CAcreateserial", "-extfile", str(extensions)),
    )
    request.unlink()
    extensions.unlink()
