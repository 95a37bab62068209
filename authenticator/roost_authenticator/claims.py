"""What an id_token says about a person, by the WLCG token profile as INDIGO IAM speaks it.

Pure: verified claims in, an :class:`Identity` out.  Source: WLCG Common JWT Profiles 1.x (groups
are strings with a leading slash in ``wlcg.groups``); OpenID Connect Core 1.0, section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roost_authenticator.errors import BadClaims

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS_CLAIM = "wlcg.groups"
_LONGEST_GROUP = 255  # of JupyterHub's database (jupyterhub.orm.Group.name)


@dataclass(frozen=True, slots=True)
class Identity:
    """One person of one issuer.

    Attributes
    ----------
    issuer, subject
        Together the only thing that identifies a person; never the user name, which IAM lets
        people choose.
    username, name, email
        For show, each ``None`` if the provider did not say.
    groups
        As IAM writes them, with the leading slash, sorted.
    """

    issuer: str
    subject: str
    username: str | None = None
    name: str | None = None
    email: str | None = None
    groups: tuple[str, ...] = ()


def identity(claims: Mapping[str, Any]) -> Identity:
    """Return who these verified claims are about.

    Raises
    ------
    BadClaims
        If issuer or subject are missing, or the groups are no list of strings.
    """
    issuer, subject = _text(claims, "iss"), _text(claims, "sub")
    if issuer is None or subject is None:
        raise BadClaims("The identity provider did not say who you are (no issuer or subject).")
    if any(character.isspace() or not character.isprintable() for character in subject):
        raise BadClaims("The identity provider gave a subject that cannot be used here.")
    return Identity(
        issuer=issuer,
        subject=subject,
        username=_text(claims, "preferred_username"),
        name=_text(claims, "name"),
        email=_text(claims, "email"),
        groups=_groups(claims.get(GROUPS_CLAIM)),
    )


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def _groups(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(group, str) for group in value):
        raise BadClaims(f"The identity provider's {GROUPS_CLAIM} is not a list of groups.")
    # A group that cannot be kept is dropped: having fewer groups never gives anyone more.
    return tuple(sorted({group for group in value if 0 < len(group) <= _LONGEST_GROUP}))
