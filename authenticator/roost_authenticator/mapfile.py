"""Which account belongs to which person of the identity provider.

The hub, the access point and the Slurm broker read the same kind of file, so that all three know a
person by the same name.  A line is HTCondor's, as its ``CERTIFICATE_MAPFILE`` with
``CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS`` takes it (HTCondor manual, *The Unified Map File*)::

    SCITOKENS https://iam.example.org,3f0c7a2e-...  alice@example.org

The domain may be left out.  Lines about other ways of authentication belong to HTCondor alone and
are passed over.  What HTCondor takes and a person may not be told apart by, patterns and included
files, is refused here.  This module knows nothing of JupyterHub: the broker imports it too.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from roost_authenticator.errors import BadMapFile, NotMapped, UnsafeAccount

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

METHOD = "SCITOKENS"
_MAX_BYTES = 64 * 1024 * 1024

# Upper case is allowed: some sites' account names have it, and the batch systems take it.
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")

# Debian's base-passwd, Red Hat's setup, and what the batch systems and their neighbours bring.
_SYSTEM_ACCOUNTS = frozenset(
    name
    for line in (
        "root toor daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc",
        "gnats nobody nfsnobody adm shutdown halt operator ftp wheel sudo admin administrator",
        "_apt messagebus dbus polkitd sshd ntp chrony _chrony rpc rpcuser statd tss uuidd tcpdump",
        "syslog avahi cups saned postgres mysql redis nginx apache httpd tomcat docker sssd nslcd",
        "condor condor_pool slurm slurmrestd munge jupyterhub jupyter",
    )
    for name in line.split()
)


def unsafe_account(name: str) -> str | None:
    """Return why no one may ever become this account, or ``None``.

    Parameters
    ----------
    name
        An account's name, without a domain.
    """
    if not _ACCOUNT.fullmatch(name):
        return (
            f"{name[:64]!r} is no account name: allowed are up to 32 letters, digits, '_', '.' "
            "and '-', the first a letter or '_'"
        )
    lower = name.lower()
    if lower in _SYSTEM_ACCOUNTS or lower.startswith("systemd-"):
        return f"{name!r} is a system account, and those are never given to anyone"
    return None


@dataclass(frozen=True, slots=True)
class AccountMap:
    """The content of one map file.

    Attributes
    ----------
    accounts
        Account by (issuer without its trailing slash, subject).
    refused
        Why a line that is there does not count, by the same key.
    """

    accounts: Mapping[tuple[str, str], str]
    refused: Mapping[tuple[str, str], str]

    def account(self, issuer: str, subject: str) -> str:
        """Return the account of this person.

        Raises
        ------
        NotMapped
            If no line is about this person.
        UnsafeAccount
            If the line names an account that is never given to anyone.
        """
        key = (issuer.removesuffix("/"), subject)
        if key in self.accounts:
            return self.accounts[key]
        if key in self.refused:
            raise UnsafeAccount(
                f"The account of {issuer}, subject {subject}, cannot be used here: "
                f"{self.refused[key]}."
            )
        raise NotMapped(f"No account here belongs to {issuer}, subject {subject}.")


def parse(text: str, *, source: str = "the map file") -> AccountMap:
    """Read the text of a map file.

    Raises
    ------
    BadMapFile
        At the first line that is not understood; a map is taken whole or not at all.
    """
    accounts: dict[tuple[str, str], str] = {}
    refused: dict[tuple[str, str], str] = {}
    seen: dict[tuple[str, str], int] = {}
    number = 0
    try:
        if text and not text.endswith("\n"):
            # Half of a name is a name too: a file that is still being written is not believed.
            number = text.count("\n") + 1
            raise _BadLine("the last line does not end; is the file written yet?")
        for number, line in enumerate(text.split("\n"), start=1):
            read = _line(line)
            if read is None:
                continue
            key, name = read
            if key in seen:
                raise _BadLine(f"{key[0]},{key[1]} is mapped in line {seen[key]} already")
            seen[key] = number
            why = unsafe_account(name)
            if why:
                refused[key] = why
            else:
                accounts[key] = name
    except _BadLine as error:
        raise BadMapFile(f"{source}, line {number}: {error}.") from None
    return AccountMap(MappingProxyType(accounts), MappingProxyType(refused))


class _BadLine(Exception):
    """What is wrong with a line."""


def _line(line: str) -> tuple[tuple[str, str], str] | None:
    """Return key and account name of one line, or ``None`` if it is not about a person."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    if fields[0].startswith("@"):
        raise _BadLine(f"{fields[0][:80]} is not taken here; put the lines into this file")
    if not fields[0].isascii() or not fields[0].isprintable():
        # Of a line that HTCondor may know nobody here would miss a person.
        raise _BadLine(f"{fields[0][:80]!a} is no way of authentication")
    if fields[0].upper() != METHOD:
        return None
    if len(fields) != 3:
        raise _BadLine(
            f"{len(fields)} words, where `{METHOD} <issuer>,<subject> <account>` is wanted"
        )
    principal, canonical = fields[1:]
    if not principal.startswith("https://"):
        raise _BadLine(
            f"{principal[:80]!r} must be an https:// issuer, a comma and a subject; "
            "patterns are not taken: each person has a line"
        )
    issuer, comma, subject = principal.rpartition(",")
    if not comma or not subject:
        raise _BadLine(f"{principal[:80]!r} lacks the comma and the subject after it")
    return (issuer.removesuffix("/"), subject), canonical.partition("@")[0]


class MapFile:
    """A map file that is read again when it changes.

    A file that cannot be used, or is gone, is logged and leaves the last good map in force.

    Parameters
    ----------
    path
        The file; replace it by a rename, as editors do.
    log
        Where to say that a file was read or refused.
    """

    def __init__(self, path: str | os.PathLike[str], *, log: logging.Logger | None = None) -> None:
        self.path = Path(path)
        self.error: BadMapFile | None = None
        self._log = log or logging.getLogger(__name__)
        self._map: AccountMap | None = None
        self._seen: tuple[int, int, int] | None = None

    def account(self, issuer: str, subject: str) -> str:
        """Return the account of this person, by the file as it is now.

        Raises
        ------
        NotMapped, UnsafeAccount
            As :meth:`AccountMap.account`.
        BadMapFile
            If no good file was ever seen.
        """
        return self.current().account(issuer, subject)

    def current(self) -> AccountMap:
        """Return the map in force, after a look at the file.

        Raises
        ------
        BadMapFile
            If no good file was ever seen.
        """
        try:
            stamp = self._stamp()
        except OSError as error:
            self._refuse(BadMapFile(f"{self.path} cannot be read: {error.strerror}."), None)
        else:
            if stamp != self._seen:
                self._read(stamp)
        if self._map is None:
            assert self.error is not None
            raise self.error
        return self._map

    def _read(self, stamp: tuple[int, int, int]) -> None:
        try:
            if stamp[1] > _MAX_BYTES:
                raise BadMapFile(f"{self.path} is larger than {_MAX_BYTES >> 20} MiB.")
            new = parse(self.path.read_text(encoding="utf-8-sig"), source=str(self.path))
        except OSError as error:
            self._refuse(BadMapFile(f"{self.path} cannot be read: {error.strerror}."), stamp)
        except UnicodeDecodeError:
            self._refuse(BadMapFile(f"{self.path} is not UTF-8 text."), stamp)
        except BadMapFile as error:
            self._refuse(error, stamp)
        else:
            self._map, self._seen, self.error = new, stamp, None
            self._log.info("%s read: %d people have accounts", self.path, len(new.accounts))
            for (issuer, subject), why in new.refused.items():
                self._log.warning("%s: %s,%s does not count: %s", self.path, issuer, subject, why)

    def _refuse(self, error: BadMapFile, stamp: tuple[int, int, int] | None) -> None:
        if self.error is None or self.error.sentence != error.sentence:
            kept = "the last good one stays in force" if self._map else "nobody can log in"
            self._log.error("%s (%s)", error.sentence, kept)
        self.error, self._seen = error, stamp

    def _stamp(self) -> tuple[int, int, int]:
        status = self.path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino
