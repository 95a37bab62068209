"""Whether expressions are ClassAd expressions, as HTCondor's own parser says."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from roost_spawner.clusters.htcondor.channel import CallFailed, Channel
from roost_spawner.errors import ClusterUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

_WITHIN = 15.0
"""Seconds, most of them for the start of a worker."""


def unparsed(expressions: Mapping[str, str]) -> list[str]:
    """Return the names of those that are no expressions.  Asks a process, and no daemon.

    Parameters
    ----------
    expressions
        By any name.

    Raises
    ------
    ClusterUnreachable
        If the parser cannot be started.
    """
    return asyncio.run(_ask(expressions)) if expressions else []


async def _ask(expressions: Mapping[str, str]) -> list[str]:
    nobody = {"collector": "", "schedd": "", "watch_token": os.devnull, "ca_file": None}
    channel = Channel(nobody, logging.getLogger(__name__))
    try:
        found = await channel.call(
            "unparsed", within=_WITHIN, lane="syntax", expressions=dict(expressions)
        )
    except CallFailed as failed:
        raise ClusterUnreachable(
            "HTCondor's parser cannot be started.", detail=f"{failed.kind}: {failed}"
        ) from None
    finally:
        await channel.close()
    return [str(name) for name in found]
