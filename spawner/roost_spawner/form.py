"""The options form: a card for each profile, with how it stands and what may be chosen on it.

A template in the classes of the Bootstrap that JupyterHub ships.  It works without JavaScript,
where the fields of cards that were not chosen travel along and are left out by
``options.flatten``; the spawn page of ``roost_hub`` keeps it up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader

from roost_spawner.offers import version
from roost_spawner.options import SHARE_TOKENS
from roost_spawner.site.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roost_spawner.offers import Offer
    from roost_spawner.site.quantities import Quantity

TEMPLATE = "roost_form.html"
_LABEL = {"cpus": "Cores", "memory": "Memory", "gpus": "GPUs", "walltime": "For how long"}
_HINT = {"memory": ", such as 512 MiB or 2 GiB", "walltime": ", such as 90m or 4h"}
_LONGEST = 40
"""Characters of what was refused that are shown again."""
_COUNTS = frozenset({"cpus", "gpus"})
_RECENT, _MINUTES, _HOURS = 20, 120, 7200
"""Seconds up to which a figure is of just now, and is told in seconds, and in minutes."""


@lru_cache(maxsize=4)
def environment(folders: tuple[str, ...] = ()) -> Environment:
    """Return where the form's template is found.

    Parameters
    ----------
    folders
        JupyterHub's ``template_paths``: a site's own template goes before ours, which it can
        extend as ``roost/roost_form.html``.
    """
    ours = PackageLoader("roost_spawner")
    loader = ChoiceLoader([PrefixLoader({"roost": ours}), FileSystemLoader(folders), ours])
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to choose on a card."""

    name: str
    label: str
    value: str
    choices: tuple[str, ...] = ()
    """All that may be chosen; empty where a value is written."""
    help: str = ""
    numeric: bool = False
    wrong: bool = False
    """Whether the value is what was refused."""


@dataclass(frozen=True, slots=True)
class Card:
    """A profile as the form shows it."""

    offer: Offer
    facts: str
    age: str
    icon: str
    overflow: str
    fields: tuple[Field, ...]
    chosen: bool


def _either(text: str) -> str:
    """Return a list of choices as people say it."""
    head, comma, last = text.rpartition(", ")
    return f"{head} or {last}" if comma else text


def age(seconds: float) -> str:
    """Return how old a figure is, in words."""
    if seconds < _RECENT:
        return "just now"
    if seconds < _MINUTES:
        return f"{seconds:.0f} s ago"
    return f"{seconds // 60:.0f} min ago" if seconds < _HOURS else f"{seconds // 3600:.0f} h ago"


def _facts(offer: Offer) -> str:
    cpus, memory, gpus = (offer.choices[field] for field in ("cpus", "memory", "gpus"))
    parts = [f"{_either(cpus.allowed)} core{'' if cpus.limit == 1 else 's'}"]
    parts.append(_either(memory.allowed))
    if gpus.limit:
        parts.append(f"{_either(gpus.allowed)} GPU{'' if gpus.limit == 1 else 's'}")
    parts.append(_either(offer.choices["walltime"].allowed))
    return " · ".join((*parts, offer.profile.cluster))


def _overflow(offer: Offer) -> str:
    if not offer.overflow:
        return ""
    others = [f"{other.profile.title} on {other.profile.cluster}" for other in offer.overflow]
    patience = offer.profile.patience
    when = "it does not start" + (f" within {show_duration(patience)}" if patience else "")
    return f"If {when}: {', then '.join(others)}."


def _field(field: str, choice: Quantity, given: Any, *, again: bool) -> Field:
    chosen, wrong = choice.show(choice.default), False
    if given is not None:
        try:
            value = choice.parse(given)
        except ValueError:
            value = -1
        if choice.admits(value):
            chosen = choice.show(value)
        elif again:  # to be mended, not to be typed anew
            chosen, wrong = str(given)[:_LONGEST], True
    if choice.choices:
        return Field(field, _LABEL[field], chosen, tuple(map(choice.show, choice.choices)))
    text = f"{choice.allowed}{_HINT.get(field, '')}"
    return Field(field, _LABEL[field], chosen, help=text, numeric=field in _COUNTS, wrong=wrong)


def _card(offer: Offer, mine: Mapping[str, Any], *, chosen: bool, again: bool, now: float) -> Card:
    usual = "microchip" if offer.choices["gpus"].default else "laptop-code"
    return Card(
        offer,
        facts=_facts(offer),
        age=age(now - offer.outlook.as_of) if offer.outlook.as_of else "",
        icon=offer.profile.icon or usual,
        overflow=_overflow(offer),
        fields=tuple(
            _field(field, choice, mine.get(field), again=again)
            for field, choice in offer.choices.items()
            if not choice.fixed
        ),
        chosen=chosen,
    )


def render_form(
    offered: Sequence[Offer],
    last: Mapping[str, Any],
    *,
    now: float,
    again: bool = False,
    shares: bool = False,
    folders: tuple[str, ...] = (),
) -> str:
    """Return the form's HTML, without the surrounding ``form`` element.

    Parameters
    ----------
    offered
        What the user may have.
    last
        The user's last choice, chosen again.
    now
        Seconds since the epoch.
    again
        Whether that choice was refused just now: it is shown as it was written.
    shares
        Whether to ask if those with whom the server is shared may use its access tokens.
    folders
        Where a site has templates of its own.
    """
    open_names = [offer.name for offer in offered if not offer.closed]
    chosen = last.get("profile")
    if chosen not in open_names:
        chosen = next(iter(open_names), None)
    cards = [
        _card(
            offer,
            last if (mine := offer.name == chosen) else {},
            chosen=mine,
            again=again,
            now=now,
        )
        for offer in offered
    ]
    return (
        environment(folders)
        .get_template(TEMPLATE)
        .render(
            cards=cards,
            version=version(offered),
            shares=shares,
            share_tokens=SHARE_TOKENS,
        )
    )
