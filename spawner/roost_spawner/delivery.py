"""What the agent carries into the job: the access tokens that a session gets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import ShepherdError

if TYPE_CHECKING:
    import logging

    from roost_shepherd.shepherd import Shepherd

    from roost_spawner.sessions import Record


async def fresh_tokens(
    shepherd: Shepherd, record: Record, log: logging.Logger
) -> dict[str, dict[str, Any]]:
    """Return a session's access tokens by name; those that cannot be had now are left out.

    ``default`` is always among them: the one of that name, or else the first.

    Raises
    ------
    ShepherdError
        If it wishes for some, and none can be had.
    """
    answer: dict[str, dict[str, Any]] = {}
    failure: ShepherdError | None = None
    for name, wish in record.wishes.items():
        try:
            token = await shepherd.access_token(
                record.account, audience=wish.audience, scopes=wish.scope.split()
            )
        except ShepherdError as error:
            log.warning("Token %s of session %s: %s", name, record.mark, error)
            failure = error
            continue
        answer[name] = {
            "value": token.value,
            "expires_at": token.expires_at,
            "refresh_in": max(token.refresh_in(time.time()), 1.0),
        }
    if failure is not None and not answer:
        raise failure
    if answer and "default" not in record.wishes:
        first = next(iter(record.wishes))
        if first in answer:
            answer["default"] = answer[first]
    return answer
