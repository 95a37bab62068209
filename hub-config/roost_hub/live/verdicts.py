"""What the answers of clusters and identity providers mean for a site file.  Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roost_spawner.options import CHOOSABLE, quantity, resolve
from roost_spawner.outlook import never
from roost_spawner.site.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from roost_spawner.clusters.base import Capacity, Judgement, Pool, Resources
    from roost_spawner.site.models import Site

HEADINGS = ("about", "", "what was found")
_CLIENT_CREDENTIALS = "client_credentials"
_SOON = 14 * 86400.0
"""Seconds: an identity that ends within them is worth a word."""


class Verdict(enum.StrEnum):
    """How a check came out."""

    GOOD = "good"
    BAD = "BAD"
    REMARK = "remark"
    UNKNOWN = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table."""

    about: str
    """``profile gpu``, ``cluster pool``, ``identity``."""
    verdict: Verdict
    said: str
    """What was found, a sentence."""
    hint: str = ""
    """What to do about it, a sentence."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a session of a profile may ask for."""

    profile: str
    choice: str
    """What was chosen besides the defaults, such as ``memory: 64 GiB``; empty for nothing."""
    wanted: Resources
    extras: Mapping[str, str] = field(compare=False)


def asks(site: Site, name: str, defaults: Mapping[str, str]) -> Iterator[Ask]:
    """Return a profile as it is, and with the most of each that may be chosen.

    Parameters
    ----------
    site, name
        The site file, and which of its profiles.
    defaults
        The spawner's ``req_*`` values by field.
    """
    profile = site.profiles[name]
    first = resolve(site, profile.groups, {"profile": name}, defaults)
    yield Ask(name, "", first.resources, profile.extras)
    for choosable in CHOOSABLE:
        choice = quantity(first.profile, choosable, defaults)
        if choice.limit != choice.default:
            most = choice.show(choice.limit)
            options = {"profile": name, choosable: most}
            found = resolve(site, profile.groups, options, defaults)
            yield Ask(name, f"{choosable}: {most}", found.resources, profile.extras)


def of_ask(ask: Ask, capacity: Capacity, judgement: Judgement | None) -> list[Finding]:
    """Say whether a session of this could ever start.

    Parameters
    ----------
    ask
        What it would ask for.
    capacity
        What its cluster has.
    judgement
        What its scheduler's rules say; None if that could not be asked for.
    """
    about = f"profile {ask.profile}" + (f", {ask.choice}" if ask.choice else "")
    pool = capacity.of(ask.wanted)
    said = list(judgement.problems if judgement else ())
    found = [Finding(about, Verdict.BAD, problem, _RULES) for problem in said]
    # The broker's own lists tell more of a partition that it does not hand out.
    if (problem := never(pool, ask.wanted)) and (pool is not None or not said):
        found.append(Finding(about, Verdict.BAD, problem, _hint(ask.wanted, capacity, pool)))
    return found


_RULES = "Change the profile, or [limits] in the broker's broker.toml and Slurm's own partition."


def _hint(wanted: Resources, capacity: Capacity, pool: Pool | None) -> str:
    if pool is None:
        return (
            f"Name a partition that is handed out: {', '.join(capacity.pools) or 'there is none'}."
        )
    if pool.problem:
        return "Look at the cluster: the profile may be good."
    if pool.max_walltime_s is not None and wanted.walltime_s > pool.max_walltime_s:
        return (
            f"Let walltime be {show_duration(pool.max_walltime_s)} at most, or change its MaxTime."
        )
    return "Ask for less cpus, memory or gpus, or name another place to run."


def of_profile(
    profile: str,
    tried: Sequence[Ask],
    capacity: Capacity | None,
    judgements: Mapping[Ask, Judgement],
) -> list[Finding]:
    """Say whether every session that a profile offers could ever start.

    Parameters
    ----------
    profile
        Its name.
    tried
        What was asked about, the profile as it is first.
    capacity
        What its cluster has; None if that is not known.
    judgements
        What its scheduler's rules say, as far as that is known.
    """
    about = f"profile {profile}"
    if capacity is None:
        return [Finding(about, Verdict.UNKNOWN, "Its cluster did not tell what it has.")]
    first, *choices = tried
    # What is wrong with the profile as it is, is wrong with each choice.
    found = of_ask(first, capacity, judgements.get(first)) or [
        finding for ask in choices for finding in of_ask(ask, capacity, judgements.get(ask))
    ]
    unchecked = dict.fromkeys(
        words for ask in tried if ask in judgements for words in judgements[ask].unchecked
    )
    if not found:
        # Room is all that is known of a profile whose rules have not been asked, or not all.
        asked = all(ask in judgements for ask in tried) and not unchecked
        said = "It can start" if asked else "There is a place that is large enough"
        found.append(Finding(about, Verdict.GOOD, f"{said}, whatever is chosen."))
    found += [Finding(about, Verdict.UNKNOWN, words) for words in unchecked]
    return found


def of_watch_token(about: str, expires_at: float | None, *, now: float) -> Finding:
    """Judge the watcher's IDTOKEN by its end, in seconds since the epoch; None for no end."""
    hint = "Make another with condor_token_create, with the authorization READ alone."
    if expires_at is None:
        return Finding(about, Verdict.GOOD, "The watch token has no end.")
    if expires_at <= now:
        return Finding(about, Verdict.BAD, "The watch token has expired.", hint)
    left = expires_at - now
    said = f"The watch token is good for {show_duration(int(left) // 60 * 60 or 60)}."
    return Finding(about, Verdict.GOOD, said, hint if left < _SOON else "")


def of_discovery(
    document: Mapping[str, Any], scopes: Iterable[str], *, needs_client: bool
) -> list[Finding]:
    """Judge what the provider says about itself (OpenID Connect Discovery 1.0, section 3).

    Parameters
    ----------
    document
        Its discovery document.
    scopes
        Those that the site file needs.
    needs_client
        Whether the hub asks for tokens of its own (Slurm's brokers want them).
    """
    about = "identity"
    found = []
    grants = document.get("grant_types_supported")
    if needs_client and isinstance(grants, list) and _CLIENT_CREDENTIALS not in grants:
        found.append(
            Finding(
                about,
                Verdict.BAD,
                f"The provider does not offer the grant type {_CLIENT_CREDENTIALS}.",
                "The brokers of Slurm clusters want a token of the hub's own: ask its admins.",
            )
        )
    supported = document.get("scopes_supported")
    if not isinstance(supported, list):
        said = "The provider does not say which scopes it knows."
        return [*found, Finding(about, Verdict.UNKNOWN, said)]
    # A path within a scope (storage.read:/home) is the client's to ask for.
    kinds = {str(scope).partition(":")[0] for scope in supported}
    unknown = sorted({scope for scope in scopes if scope.partition(":")[0] not in kinds})
    if unknown:
        found.append(
            Finding(
                about,
                Verdict.BAD,
                f"The provider does not know the scopes {', '.join(unknown)}.",
                "Mend `tokens` in the site file, or let the IAM's admins add them.",
            )
        )
    else:
        found.append(Finding(about, Verdict.GOOD, "The provider knows all scopes that are needed."))
    return found


def of_grant(about: str, asked: Collection[str], granted: Collection[str]) -> Finding:
    """Compare the scopes that a token should have with those that it has."""
    missing = sorted(set(asked) - set(granted))
    if not missing:
        return Finding(about, Verdict.GOOD, f"A token with {', '.join(sorted(asked))} is given.")
    return Finding(
        about,
        Verdict.BAD,
        f"The token that is given lacks {', '.join(missing)}.",
        "Let the IAM's admins allow them to the hub's client; the user then logs in anew.",
    )


def rows(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """Return the findings under :data:`HEADINGS`, hints below what they are about."""
    found = []
    for finding in findings:
        found.append((finding.about, str(finding.verdict), finding.said))
        if finding.hint:
            found.append(("", "", f"> {finding.hint}"))
    return found
