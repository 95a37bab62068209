"""The options form: a card for each profile, with what may be chosen on it.

Plain HTML in the classes of the Bootstrap that JupyterHub ships; works without JavaScript, where
the fields of cards that were not chosen travel along and are left out by ``options.flatten``.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from roost_spawner.options import CHOOSABLE, SHARE_TOKENS, quantity, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from roost_spawner.site.models import Profile, Site
    from roost_spawner.site.quantities import Quantity

_LABEL = {"cpus": "Cores", "memory": "Memory", "gpus": "GPUs", "walltime": "For how long"}

_HINT = {
    "cpus": "",
    "memory": ", such as 512 MiB or 2 GiB",
    "gpus": "",
    "walltime": ", such as 90m or 4h",
}

# A card's fields show only while it is chosen, by CSS alone; keyboard and focus stay the browser's.
_STYLE = """
<style>
.roost-profile > input { position: absolute; opacity: 0; }
.roost-profile > label { cursor: pointer; display: block; }
.roost-profile .roost-fields { display: none; }
.roost-profile:has(> input:checked) .roost-fields { display: flex; }
.roost-profile:has(> input:checked) {
  border-color: var(--bs-primary); box-shadow: 0 0 0 1px var(--bs-primary);
}
.roost-profile:has(> input:focus-visible) {
  outline: 3px solid var(--bs-focus-ring-color, rgba(13, 110, 253, .5)); outline-offset: 2px;
}
</style>
"""


def _either(text: str) -> str:
    """Return a list of choices as people say it."""
    head, comma, last = text.rpartition(", ")
    return f"{head} or {last}" if comma else text


def _facts(profile: Profile, choices: Mapping[str, Quantity]) -> str:
    cpus, memory = choices["cpus"], choices["memory"]
    cores = f"{_either(cpus.allowed)} core{'' if cpus.limit == 1 else 's'}"
    parts = [cores, _either(memory.allowed)]
    if choices["gpus"].limit:
        gpus = _either(choices["gpus"].allowed)
        parts.append(f"{gpus} GPU{'' if choices['gpus'].limit == 1 else 's'}")
    parts.append(_either(choices["walltime"].allowed))
    return " · ".join((*parts, profile.cluster))


def _field(card: str, field: str, choice: Quantity, given: Any) -> str:
    name, label = f"{card}.{field}", _LABEL[field]
    identity = f"roost-{card}-{field}"
    chosen = choice.show(choice.default)
    if given is not None:
        try:
            value = choice.parse(given)
        except ValueError:
            value = -1
        chosen = choice.show(value) if choice.admits(value) else chosen
    if choice.choices:
        options = "".join(
            f"<option{' selected' * (choice.show(value) == chosen)}>{choice.show(value)}</option>"
            for value in choice.choices
        )
        control = f'<select class="form-select" id="{identity}" name="{name}">{options}</select>'
    else:
        control = (
            f'<input class="form-control" id="{identity}" name="{name}" value="{escape(chosen)}" '
            f'aria-describedby="{identity}-help" autocomplete="off">'
            f'<div class="form-text" id="{identity}-help">'
            f"{escape(choice.allowed)}{_HINT[field]}</div>"
        )
    return (
        f'<div class="col-sm-6"><label class="form-label" for="{identity}">{label}</label>'
        f"{control}</div>"
    )


def _sharing(last: Mapping[str, Any]) -> str:
    checked = " checked" if last.get(SHARE_TOKENS) == "yes" else ""
    return (
        '<div class="form-check text-start mb-3"><input class="form-check-input" type="checkbox" '
        f'id="roost-{SHARE_TOKENS}" name="{SHARE_TOKENS}" value="yes"{checked}>'
        f'<label class="form-check-label" for="roost-{SHARE_TOKENS}">'
        "If I share this server, those who work in it may use my access tokens</label></div>"
    )


def render_form(
    site: Site,
    groups: Collection[str],
    defaults: Mapping[str, str],
    last: Mapping[str, Any],
    *,
    shares: bool = False,
) -> str:
    """Return the form's HTML, without the surrounding ``form`` element.

    Parameters
    ----------
    site
        The site file as it is now.
    groups
        The user's groups: other groups' profiles are not shown.
    defaults
        The spawner's ``req_*`` values by field.
    last
        The user's last choice, chosen again.
    shares
        Whether the user may share servers with others.
    """
    profiles = visible(site, groups)
    if not profiles:
        return (
            '<p class="alert alert-warning" role="alert">No profile is open to you here. '
            "Ask the hub's admin for access.</p>"
        )
    chosen = last.get("profile")
    if chosen not in profiles:
        chosen = next(iter(profiles))
    cards = []
    for name, profile in profiles.items():
        choices = {field: quantity(profile, field, defaults) for field in CHOOSABLE}
        mine = last if name == chosen else {}
        fields = "".join(
            _field(name, field, choice, mine.get(field))
            for field, choice in choices.items()
            if not choice.fixed
        )
        checked = " checked" if name == chosen else ""
        described = (
            f'<p class="card-text mb-1">{escape(profile.description)}</p>'
            if profile.description
            else ""
        )
        cards.append(
            f'<div class="card mb-3 roost-profile">'
            f'<input type="radio" name="profile" id="roost-{name}" value="{name}" required'
            f"{checked}>"
            f'<label class="card-body" for="roost-{name}">'
            f'<span class="card-title h5 d-block">{escape(profile.title)}</span>{described}'
            f'<span class="text-body-secondary small">{escape(_facts(profile, choices))}</span>'
            f"</label>"
            + (f'<div class="row g-3 px-3 pb-3 roost-fields">{fields}</div>' if fields else "")
            + "</div>"
        )
    return (
        f'{_STYLE}<fieldset class="roost-profiles text-start">'
        f'<legend class="visually-hidden">Profile</legend>{"".join(cards)}</fieldset>'
        + (_sharing(last) if shares and any(map(site.may_share_tokens, profiles.values())) else "")
    )
