"""``roost check`` and ``roost schema``: what a site file says, and what it may say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roost_spawner.clusters.htcondor import commands, syntax
from roost_spawner.errors import ClusterUnreachable, SiteError
from roost_spawner.options import CHOOSABLE, quantity
from roost_spawner.site.loader import inspect_site
from roost_spawner.site.schema import schema_text
from roost_spawner.site.units import show_duration

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from roost_spawner.site.fit import Problem
    from roost_spawner.site.models import Profile, Site

HEADINGS = ("profile", "cluster", "what one gets", "overflow", "groups")
_UNSAID = "*"
_NOTE = f"{_UNSAID} the file does not say it: c.RoostSpawner.req_* may change it\n"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands and what they take."""
    text = "say whether a site file is good, and where not"
    check = commands.add_parser("check", help=text, description=text)
    check.add_argument("site", type=Path, help="the site file, such as /etc/roost/site.yaml")
    check.add_argument(
        "--live",
        action="store_true",
        help="ask the clusters and the identity provider whether every profile could ever start",
    )
    check.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="for --live: the hub's jupyterhub_config.py; /etc/roost/jupyterhub_config.py if there",
    )
    check.add_argument("--user", metavar="NAME", help="for --live: whose tokens are tried as well")
    text = "print the site file's JSON Schema, for editors"
    commands.add_parser("schema", help=text, description=text)


def schema() -> int:
    """Print the schema; return the exit status."""
    sys.stdout.write(schema_text())
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Say whether a site file is good; return the exit status."""
    path: Path = arguments.site
    try:
        site, remarks = inspect_site(path, _unparsed)
    except SiteError as error:
        sys.stderr.write(f"{error.sentence}\n")
        return 1
    rows = overview(site)
    counts = f"{len(site.clusters)} clusters, {len(site.profiles)} profiles"
    sys.stdout.write(f"{path}: good: {counts}.\n\n{table(HEADINGS, rows)}")
    if any(_UNSAID in row[2] for row in rows):
        sys.stdout.write(_NOTE)
    for remark in remarks:
        sys.stderr.write(f"{remark} (it is allowed; is it meant?)\n")
    return _live(path, site, arguments) if arguments.live else 0


def _unparsed(site: Site) -> Iterator[Problem]:
    """Yield the submit commands that HTCondor cannot parse, each with its place in the file."""
    given = {
        f"{profile}\n{name}": (profile, name, value)
        for profile, settings in site.profiles.items()
        if site.clusters[settings.cluster].kind == "htcondor"
        for name, value in commands.expressions(settings.extras).items()
    }
    try:
        wrong = syntax.unparsed({key: value for key, (_, _, value) in given.items()})
    except ClusterUnreachable as error:
        sys.stderr.write(f"submit_commands: not checked: {error.sentence} ({error.detail})\n")
        return
    for key in wrong:
        profile, name, value = given[key]
        yield ("profiles", profile, "submit_commands", name), commands.wrong(name, value)


def _live(path: Path, site: Site, arguments: argparse.Namespace) -> int:
    from roost_hub.live import check, verdicts  # noqa: PLC0415 - a second, for those who want it

    try:
        found = check.findings(path, site, config=arguments.config, user=arguments.user)
    except check.Unusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"\n{table(verdicts.HEADINGS, verdicts.rows(found))}")
    return 1 if any(finding.verdict is verdicts.Verdict.BAD for finding in found) else 0


def overview(site: Site) -> list[tuple[str, ...]]:
    """Return a row for each profile, under :data:`HEADINGS`."""
    return [
        (
            name,
            _place(site, profile),
            ", ".join(filter(None, (_amount(profile, field) for field in CHOOSABLE))),
            _overflow(profile),
            ", ".join(profile.groups) or "everybody",
        )
        for name, profile in site.profiles.items()
    ]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal: columns as wide as what they hold."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def _place(site: Site, profile: Profile) -> str:
    if site.clusters[profile.cluster].kind == "htcondor":
        where = f"{profile.slot or 'reserved'} slots"
    else:
        where = profile.partition or "default partition"
    return f"{profile.cluster}, {where}"


def _amount(profile: Profile, field: str) -> str:
    """Return what one gets of something, and what one may choose; empty if there is nothing."""
    choice = quantity(profile, field, {})
    if not choice.limit:
        return ""
    text = choice.show(choice.default)
    if unit := {"cpus": "core", "gpus": f"{profile.gpu_type or ''} GPU".strip()}.get(field):
        text += f" {unit}{'' if choice.default == 1 else 's'}"
    others = [choice.show(value) for value in choice.choices or () if value != choice.default]
    if others:
        text += f" (or {', '.join(others)})"
    elif not choice.fixed:
        text += f" ({choice.allowed})"
    return text + (_UNSAID if getattr(profile, field) is None else "")


def _overflow(profile: Profile) -> str:
    if not profile.overflow:
        return "-"
    return f"after {show_duration(profile.patience or 0)}: {', then '.join(profile.overflow)}"
