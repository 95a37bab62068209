"""What a user may choose: the one place where a choice is validated.

The form, the REST API and ``opt-`` links all end here.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import Resources, SlotClass
from roost_spawner.errors import ChoiceRefused
from roost_spawner.site.quantities import (
    CoresChoice,
    CountChoice,
    DurationChoice,
    MemoryChoice,
    Quantity,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from roost_spawner.site.models import Profile, Site

CHOOSABLE = ("cpus", "memory", "gpus", "walltime")
SHARE_TOKENS = "share_tokens"
"""Whether those with whom the session is shared get its access tokens: ``yes`` or ``no``."""
_MAX_SHOWN = 60

# What a profile asks for that neither says it nor has a req_* trait for it.
_LAST_RESORT: dict[str, Quantity] = {
    "cpus": CoresChoice(default=1),
    "memory": MemoryChoice(default="1 GiB"),  # type: ignore[arg-type]  # the model parses it
    "gpus": CountChoice(default=0),
    "walltime": DurationChoice(default="8h"),  # type: ignore[arg-type]  # likewise
}
# batchspawner's trait for each field, so that a site's settings keep their meaning.
REQ_TRAITS = {
    "cpus": "req_nprocs",
    "memory": "req_memory",
    "gpus": "req_ngpus",
    "walltime": "req_runtime",
    "partition": "req_partition",
    "account": "req_account",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice that has passed."""

    name: str
    profile: Profile
    resources: Resources
    share_tokens: bool = False


def visible(site: Site, groups: Collection[str]) -> dict[str, Profile]:
    """Return the profiles that a member of `groups` may use, in the file's order."""
    mine = {group.strip("/") for group in groups}
    return {
        name: profile
        for name, profile in site.profiles.items()
        if not profile.groups or any(group.strip("/") in mine for group in profile.groups)
    }


def quantity(profile: Profile, field: str, defaults: Mapping[str, str]) -> Quantity:
    """Return what may be chosen for one field of a profile.

    Parameters
    ----------
    profile
        The profile.
    field
        One of :data:`CHOOSABLE`.
    defaults
        The spawner's ``req_*`` values by field, for what the profile leaves out.
    """
    said: Quantity | None = getattr(profile, field)
    if said is not None:
        return said
    fallback = _LAST_RESORT[field]
    if text := defaults.get(field, ""):
        try:
            return type(fallback).model_validate(text)
        except ValueError as error:
            raise ChoiceRefused(
                "The hub's default for this profile cannot be used. Please tell its admin.",
                detail=f"{REQ_TRAITS[field]} = {text!r}: {error}",
            ) from None
    return fallback


def flatten(form: Mapping[str, list[str]]) -> dict[str, str]:
    """Return a form's fields as a choice.

    A field of a profile's card is named ``<profile>.<field>``; those of the other cards travel
    along and are left out here.  Plain names, as in ``opt-`` links, are taken too.
    """
    single = {name: values[-1] for name, values in form.items() if values}
    chosen = single.get("profile")
    options = {} if chosen is None else {"profile": chosen}
    for name, value in single.items():
        card, dot, field = name.partition(".")
        if dot and card == chosen and field in CHOOSABLE and value != "":
            options[field] = value
        elif not dot and name not in {"profile", "_xsrf"} and value != "":
            options[name] = value
    return options


def _shown(given: object) -> str:
    text = str(given)
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


def _shares_tokens(site: Site, profile: Profile, options: Mapping[str, object]) -> bool:
    given = options.get(SHARE_TOKENS, "no")
    if given not in ("yes", "no"):
        raise ChoiceRefused(f"{SHARE_TOKENS} is yes or no; you gave {_shown(given)}.")
    if given == "yes" and not site.may_share_tokens(profile):
        raise ChoiceRefused(
            f"{profile.title} lets nobody share access tokens; start it without {SHARE_TOKENS}."
        )
    return given == "yes"


def resolve(
    site: Site,
    groups: Collection[str],
    options: Mapping[str, object],
    defaults: Mapping[str, str] | None = None,
) -> Selection:
    """Return what a user's choice comes to, or refuse it.

    Parameters
    ----------
    site
        The site file as it is now.
    groups
        The user's groups.
    options
        ``profile`` and any of :data:`CHOOSABLE`; empty means the first profile as it is.
    defaults
        The spawner's ``req_*`` values by field.

    Raises
    ------
    ChoiceRefused
        Naming what was given and what is allowed.
    """
    defaults = defaults or {}
    allowed = visible(site, groups)
    if not allowed:
        raise ChoiceRefused("No profile is open to you here. Ask the hub's admin for access.")
    name = options.get("profile", next(iter(allowed)))
    profile = allowed.get(name) if isinstance(name, str) else None
    if not isinstance(name, str) or profile is None:
        if name == "":
            raise ChoiceRefused(f"No profile is chosen; choose one of: {', '.join(allowed)}.")
        # The same words for a profile that is not there and one that is not yours.
        raise ChoiceRefused(
            f"There is no profile {_shown(name)}; choose one of: {', '.join(allowed)}."
        )
    known = ("profile", *CHOOSABLE, SHARE_TOKENS)
    for key in options:
        if key not in known:
            raise ChoiceRefused(f"There is no option {_shown(key)}; there are: {', '.join(known)}.")
    share_tokens = _shares_tokens(site, profile, options)
    values: dict[str, int] = {}
    for field in CHOOSABLE:
        choice = quantity(profile, field, defaults)
        value = choice.default
        if field in options:
            given = options[field]
            words = (
                f"{profile.title} gives {field}: {choice.allowed}; you asked for {_shown(given)}"
            )
            try:
                value = choice.parse(given)
            except ValueError:
                usual = choice.show(choice.default)
                raise ChoiceRefused(
                    f"{words}, which is not understood. Write it like {usual}."
                ) from None
            if not choice.admits(value):
                raise ChoiceRefused(f"{words}.")
        values[field] = value
    return Selection(
        name=name,
        profile=profile,
        share_tokens=share_tokens,
        resources=Resources(
            cpus=values["cpus"],
            memory_mib=values["memory"],
            walltime_s=values["walltime"],
            gpus=values["gpus"],
            gpu_type=profile.gpu_type,
            slot=profile.slot or SlotClass.RESERVED,
            partition=profile.partition or defaults.get("partition") or None,
            account=profile.account or defaults.get("account") or None,
            qos=profile.qos,
            constraint=profile.constraint,
            reservation=profile.reservation,
        ),
    )
