"""What a provider's claims say about a person, in any of INDIGO IAM's four token profiles.

IAM chooses the profile by the client, and each has a group claim of its own (IAM 1.12):

======  ==============================================  ==============================
wlcg    ``wlcg.groups``                                 ``/cms/production``
iam     ``groups``                                      ``cms/production``
kc      ``roles``                                       ``cms/production``
aarc    ``entitlements``, ``eduperson_entitlement``     ``<namespace>:group:cms:production``
======  ==============================================  ==============================

All become the same: a group is ``/cms/production``; a role in it is a group of its own below it,
``/cms/production/Role=manager``.  Nothing is inferred: a role does not make a member, nor a
subgroup one of its parent.  An optional WLCG group (one that is told only if its scope is asked
for) is a group like others, while it is told.

Pure: verified claims in, an :class:`Identity` out.  Sources: WLCG Common JWT Profiles 1.x; OpenID
Connect Core 1.0, section 5.1; AARC-G002 and AARC-G069 (groups and roles as URNs).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from roost_authenticator.errors import BadClaims

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LONGEST_GROUP = 255  # of JupyterHub's database (jupyterhub.orm.Group.name)
_ROLE = re.compile(r"role=(.*)", re.IGNORECASE)
_CAPABILITY = re.compile(r"capability=.*", re.IGNORECASE)
_MEMBER = "member"  # AARC-G069: the role that every member has


class Profile(enum.StrEnum):
    """A token profile, as IAM names them in scopes."""

    AUTO = "auto"
    """Whichever group claim is there, in the order of the others here."""
    WLCG = "wlcg"
    AARC = "aarc"
    IAM = "iam"
    KC = "kc"


_CLAIMS: Mapping[Profile, tuple[str, ...]] = {
    Profile.WLCG: ("wlcg.groups",),
    Profile.AARC: ("entitlements", "eduperson_entitlement"),
    Profile.IAM: ("groups",),
    Profile.KC: ("roles",),
}

IDENTITY_SCOPES = frozenset(
    {
        *("openid", "profile", "email"),
        *("wlcg", "wlcg.groups", "iam", "kc", "aarc", "entitlements", "eduperson_entitlement"),
    }
)
"""Scopes that have to do with who somebody is and which groups they are in."""


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
        Normalised, sorted.
    """

    issuer: str
    subject: str
    username: str | None = None
    name: str | None = None
    email: str | None = None
    groups: tuple[str, ...] = ()


def identity(
    claims: Mapping[str, Any], *, profile: Profile = Profile.AUTO, namespace: str = ""
) -> Identity:
    """Return who these verified claims are about.

    Parameters
    ----------
    claims
        Of an id_token, or of the userinfo endpoint together with the issuer.
    profile
        Which group claim counts; the others are not looked at.
    namespace
        Whose entitlements count, such as ``urn:geant:example.org``; without it none do, for an
        IAM may pass on those of others.

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
        groups=_groups(claims, profile, namespace),
    )


def tells_groups(
    claims: Mapping[str, Any], *, profile: Profile = Profile.AUTO, namespace: str = ""
) -> bool:
    """Tell whether a group claim is there at all, be it empty."""
    return _spoken(claims, profile, namespace) is not None


def identity_scopes(granted: Iterable[str]) -> frozenset[str]:
    """Return those of the granted scopes by which groups can be asked for again."""
    return frozenset(
        scope for scope in granted if scope in IDENTITY_SCOPES or scope.startswith("wlcg.groups:")
    )


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def _spoken(claims: Mapping[str, Any], profile: Profile, namespace: str) -> Profile | None:
    """Return the profile whose group claim is there, if it is the one that counts."""
    for candidate, names in _CLAIMS.items():
        if candidate is Profile.AARC and not namespace:
            continue
        if profile in (Profile.AUTO, candidate) and any(
            claims.get(name) is not None for name in names
        ):
            return candidate
    return None


def _groups(claims: Mapping[str, Any], profile: Profile, namespace: str) -> tuple[str, ...]:
    spoken = _spoken(claims, profile, namespace)
    if spoken is None:
        return ()
    found: set[str] = set()
    for name in _CLAIMS[spoken]:
        values = _strings(claims.get(name), name, one_will_do=spoken is Profile.AARC)
        if spoken is Profile.AARC:
            found.update(_by_urns(values, namespace))
        else:
            found.update(path for value in values if (path := _by_path(value)))
    # A group that cannot be kept is dropped: having fewer groups never gives anyone more.
    return tuple(
        sorted(g for g in found if len(g) <= _LONGEST_GROUP and g.isprintable() and " " not in g)
    )


def _strings(value: object, name: str, *, one_will_do: bool) -> list[str]:
    if value is None:
        return []
    if one_will_do and isinstance(value, str):
        return [value]  # some providers unpack lists of one
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadClaims(f"The identity provider's {name} is not a list of groups.")
    return value


def _by_path(value: str) -> str | None:
    """Read ``a/b``, ``/a/b`` or VOMS's ``/a/b/Role=r/Capability=NULL``."""
    parts = value.removeprefix("/").split("/")
    if parts and _CAPABILITY.fullmatch(parts[-1]):
        parts.pop()
    role = _ROLE.fullmatch(parts[-1]) if parts else None
    if role:
        parts.pop()
    return _path(parts, role[1] if role else "")


def _by_urns(values: Iterable[str], namespace: str) -> Iterator[str]:
    """Read ``<namespace>:group:a:b[:role=r][#authority]`` (AARC-G069, section 2)."""
    prefix = f"{namespace.removesuffix(':')}:group:"
    for value in values:
        # URNs are compared without regard to case in their first parts (RFC 8141, section 3.1).
        if not namespace or not value.lower().startswith(prefix.lower()):
            continue
        parts = value[len(prefix) :].partition("#")[0].split(":")
        role = _ROLE.fullmatch(parts[-1])
        if role:
            parts.pop()
        named = unquote(role[1]) if role else ""
        group = _path([unquote(part) for part in parts], "" if named == _MEMBER else named)
        if group:
            yield group


def _path(parts: Iterable[str], role: str) -> str | None:
    """Join what may be joined: a part with a slash in it would be another group's name."""
    parts = list(parts)
    if not parts or any(not part or "/" in part or _ROLE.fullmatch(part) for part in parts):
        return None
    if "/" in role:
        return None
    group = "/" + "/".join(parts)
    return group if role in ("", "NULL") else f"{group}/Role={role}"
