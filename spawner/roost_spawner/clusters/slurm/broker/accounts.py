"""From a token's issuer and subject to a Unix account that may be acted for."""

from __future__ import annotations

import asyncio
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from roost_authenticator.errors import BadMapFile, NotMapped, UnsafeAccount
from roost_authenticator.mapfile import unsafe_account

from roost_spawner.clusters.slurm.broker.errors import Forbidden, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_NOBODY = 65534
"""The overflow uid, user_namespaces(7); slurmctld's own nobody is 99, below any user's."""
_LOOKUP_TIMEOUT = 10.0


class PasswdEntry(Protocol):
    """What is read of ``pwd.struct_passwd``."""

    @property
    def pw_name(self) -> str:
        """The account's name, as the system writes it."""

    @property
    def pw_uid(self) -> int:
        """The numeric user id."""

    @property
    def pw_dir(self) -> str:
        """The home directory."""

    @property
    def pw_shell(self) -> str:
        """The login shell."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of an ordinary user."""

    name: str
    uid: int
    home: str
    shell: str


def check(name: str, entry: PasswdEntry | None, *, minimum_uid: int) -> Account:
    """Return the account if it is an ordinary user's.

    Raises
    ------
    Forbidden
        If it is root's, the system's, or unknown on this host: slurmctld takes a token for an
        unknown name as *nobody* instead of refusing it (seen with 24.11.5).
    """
    refused = unsafe_account(name)
    if refused:
        raise Forbidden(
            "Your identity is mapped to an account that nobody may use.", detail=refused
        )
    if entry is None:
        raise Forbidden(f"The account {name} is not known on this cluster.")
    if entry.pw_name != name:
        # Names are compared letter by letter elsewhere; a name service may be more lenient.
        raise Forbidden(
            f"Your identity is mapped to the account {name}, which is called {entry.pw_name} on "
            "this cluster. Its admins can put that into the map files."
        )
    if entry.pw_uid < minimum_uid or entry.pw_uid == _NOBODY:
        raise Forbidden(f"The account {name} belongs to the system; no notebooks are run for it.")
    return Account(name, entry.pw_uid, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


class Accounts:
    """Find the account of an identity.

    Parameters
    ----------
    mapped
        Returns the account name for issuer and subject
        (:meth:`roost_authenticator.mapfile.MapFile.account`).
    minimum_uid
        Accounts below are refused.
    lookup
        The system's account database; may be slow, so it is asked in a thread.
    """

    def __init__(
        self,
        mapped: Callable[[str, str], str],
        *,
        minimum_uid: int = 1000,
        lookup: Callable[[str], PasswdEntry] = pwd.getpwnam,
    ) -> None:
        self._mapped = mapped
        self._minimum_uid = minimum_uid
        self._lookup = lookup

    async def of(self, issuer: str, subject: str) -> Account:
        """Return the account that this identity acts as.

        Raises
        ------
        Forbidden
            If there is none that may be acted for.
        Unavailable
            If the account database does not answer.
        """
        try:
            name = self._mapped(issuer, subject)
        except NotMapped as error:
            raise Forbidden(
                "Your identity is not mapped to an account of this cluster.", detail=str(error)
            ) from None
        except UnsafeAccount as error:
            raise Forbidden(
                "Your identity is mapped to an account that nobody may use.", detail=str(error)
            ) from None
        except BadMapFile as error:
            raise Unavailable(
                "The broker's map of accounts cannot be read.", detail=str(error)
            ) from None
        try:
            entry = await asyncio.wait_for(asyncio.to_thread(self._find, name), _LOOKUP_TIMEOUT)
        except TimeoutError:
            raise Unavailable("The cluster's account database does not answer.") from None
        return check(name, entry, minimum_uid=self._minimum_uid)

    def _find(self, name: str) -> PasswdEntry | None:
        try:
            return self._lookup(name)
        except (KeyError, ValueError):
            return None
