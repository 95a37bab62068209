"""What the spawn page shows a user: offers as the clusters are now, and the choice before."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from roost_spawner import sharing
from roost_spawner.capacity import with_problem
from roost_spawner.errors import RoostError
from roost_spawner.form import render_form
from roost_spawner.offers import Offer, offers
from roost_spawner.options import resolve, visible
from roost_spawner.overflow import full
from roost_spawner.starts import NOTICEABLE, ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_spawner.record import Record
    from roost_spawner.spawner import RoostSpawner

FIRST_LOOK = 0.3
"""Seconds that a page waits for a cluster of which nothing is known yet."""

_refused: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
"""The choice that was refused last, by user: JupyterHub shows the form again, that of the default
server whichever it was."""


async def offered(spawner: RoostSpawner, patience: float = 0.0) -> list[Offer]:
    """Return what a server's owner is offered.

    Parameters
    ----------
    spawner
        The server's.
    patience
        Seconds to wait for clusters of which nothing is known yet.
    """
    engine = spawner.engine
    site, groups = engine.site, spawner.groups()
    names = sorted({profile.cluster for profile in visible(site, groups).values()})
    looks = await asyncio.gather(*(engine.capacity(name).look(patience) for name in names))
    samples = {
        name: with_problem(sample, engine.watcher(name).problem, time.time())
        for name, sample in zip(names, looks, strict=True)
    }
    return offers(
        site,
        groups,
        spawner.defaults(),
        samples,
        expected=ledger.expected_wait,
        now=time.time(),
    )


def usual(spawner: RoostSpawner, record: Record, now: float) -> float | None:
    """Return the seconds that starts like this one took lately; None if nobody knows.

    As the profile's card says it: of one that has to wait, what those took that had to.

    Parameters
    ----------
    spawner
        The server's.
    record
        The session that starts.
    now
        Seconds since the epoch.
    """
    queued = record.queued_at or now
    waits = (record.began_at or now) - queued >= NOTICEABLE
    if not waits and not record.began_at:
        waits = bool(_full(spawner, record, now))
    return ledger.expected_wait(record.profile) if waits else ledger.expected(record.profile)


def _full(spawner: RoostSpawner, record: Record, now: float) -> str:
    site = spawner.engine.site
    options = {**spawner.user_options, "profile": record.profile}
    try:
        wanted = resolve(site, spawner.groups(), options, spawner.defaults()).resources
        sample = spawner.engine.capacity(record.cluster).glance()
    except RoostError:  # the site file has changed since
        return ""
    return full(sample, wanted, max_age=2 * site.watch.capacity, now=now)


async def show_form(spawner: RoostSpawner) -> str:
    """Return the options form, and prepare the clusters for a start.

    Raises
    ------
    RoostError
        If the site file cannot be used.
    """
    site = spawner.engine.site
    found = await offered(spawner, FIRST_LOOK)
    for name in {offer.profile.cluster for offer in found}:
        spawner.engine.warm(spawner.user.name, name)
    last, again = last_choice(spawner)
    return render_form(
        found,
        last,
        again=again,
        now=time.time(),
        shares=sharing.may_be_shared(spawner.user)
        and any(site.may_share_tokens(offer.profile) for offer in found),
        folders=tuple(spawner.user.settings.get("template_path", ())),
    )


def refused(spawner: RoostSpawner, options: dict[str, Any]) -> None:
    """Keep a choice that was refused for the form that is shown next."""
    _refused[spawner.user] = options


def last_choice(spawner: RoostSpawner) -> tuple[Mapping[str, Any], bool]:
    """Return what the user chose last, and whether that was just now, and refused.

    Of what was not refused, it is this server's, or else that of any.
    """
    if options := _refused.pop(spawner.user, None):
        return options, True
    if spawner.user_options:
        return spawner.user_options, False
    others = [other for other in spawner.user.orm_user.orm_spawners.values() if other.user_options]
    latest = max(others, key=lambda other: (_last_used(other), other.id), default=None)
    return (latest.user_options if latest is not None else {}), False


def _last_used(server: Any) -> float:
    times = [at.timestamp() for at in (server.started, server.last_activity) if at is not None]
    return max(times, default=0.0)
