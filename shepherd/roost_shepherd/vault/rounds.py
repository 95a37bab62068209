"""What the loop asks the vault: what is due, how all stands, and what holds for all at once."""

from __future__ import annotations

from sqlalchemy import and_, bindparam, case, func, literal, or_, select, update

from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Due, Want
from roost_shepherd.vault.rows import RENEWABLE, Rows, changed, grants, tokens

# Asked each round: to make a statement costs more than to run it.
_JOINED = grants.c.id == tokens.c.grant_id
_USED = and_(tokens.c.taken.is_(True), grants.c.state.in_(RENEWABLE))
_IN_USE_AT_ALL = (
    select(
        grants.c.owner,
        tokens.c.audience,
        tokens.c.wanted_scopes,
        tokens.c.renew_at,
        grants.c.next_try_at,
    )
    .join(grants, _JOINED)
    .where(_USED)
    .order_by(tokens.c.renew_at)
    .limit(bindparam("most"))
)
_IN_USE = _IN_USE_AT_ALL.where(
    tokens.c.renew_at <= bindparam("before"), grants.c.next_try_at <= bindparam("before")
)
_READY = (
    select(tokens.c.renew_at)
    .join(grants, _JOINED)
    .where(_USED, grants.c.next_try_at <= bindparam("now"))
    .order_by(tokens.c.renew_at)
    .limit(1)
)
_WAITING = select(func.min(grants.c.next_try_at)).where(
    grants.c.state == GrantState.RETRYING.value, grants.c.next_try_at > bindparam("now")
)


class Rounds(Rows):
    """Questions about many grants; no secret is read."""

    def in_use(self, *, before: float | None = None, limit: int = 1000) -> list[Due]:
        """Return the tokens that sessions use and that can be renewed, the most urgent first.

        Parameters
        ----------
        before
            Only those whose renewal is due by then.
        limit
            At most so many.
        """
        query, values = _IN_USE, {"most": limit, "before": before}
        if before is None:
            query, values = _IN_USE_AT_ALL, {"most": limit}
        with self._read() as connection:
            return [
                Due(
                    row.owner,
                    Want(row.audience, frozenset(row.wanted_scopes.split())),
                    max(row.renew_at, row.next_try_at),
                )
                for row in connection.execute(query, values)
            ]

    def next_due(self) -> float | None:
        """Return when the next renewal is due, or ``None`` if nothing is in use."""
        now = {"now": self._clock()}
        with self._read() as connection:
            found = [connection.scalar(_READY, now), connection.scalar(_WAITING, now)]
        return min((moment for moment in found if moment is not None), default=None)

    def good_until(self, owner: str) -> float | None:
        """Return when the first of the tokens that are in use ends.

        One that was just renewed, and that its users did not fetch yet, is among them.
        """
        with self._read() as connection:
            found: float | None = connection.scalar(
                select(func.min(tokens.c.expires_at))
                .join(grants, grants.c.id == tokens.c.grant_id)
                .where(
                    grants.c.owner == owner,
                    or_(tokens.c.taken.is_(True), tokens.c.expires_at > self._clock()),
                )
            )
        return found

    def survey(self) -> tuple[dict[str, int], float | None]:
        """Return the number of grants by state, and since when the first of them fails."""
        failing = case(
            (grants.c.state == GrantState.RETRYING.value, grants.c.failing_since),
            else_=literal(None),
        )
        query = select(grants.c.state, func.count(), func.min(failing)).group_by(grants.c.state)
        with self._read() as connection:
            rows = connection.execute(query).all()
        since = [row[2] for row in rows if row[2] is not None]
        return {row[0]: row[1] for row in rows}, min(since, default=None)

    def note_outage(self, *, before: float, since: float, sentence: str) -> int:
        """Write down for all grants at once that the provider is away; return how many it hits.

        Only those that are waited for: with a token in use whose renewal is due by ``before``.
        """
        waited_for = select(tokens.c.grant_id).where(
            tokens.c.taken.is_(True), tokens.c.renew_at <= before
        )
        with self._write() as connection:
            return changed(
                connection,
                update(grants)
                .where(
                    grants.c.state == GrantState.LIVE.value,
                    grants.c.refresh_token.is_not(None),
                    grants.c.id.in_(waited_for),
                )
                .values(
                    state=GrantState.RETRYING.value,
                    failing_since=func.coalesce(grants.c.failing_since, since),
                    last_error=sentence,
                    updated_at=self._clock(),
                ),
            )

    def end_outage(self) -> int:
        """Let every grant try at once that waits for a provider; return how many do."""
        with self._write() as connection:
            return changed(
                connection,
                update(grants)
                .where(
                    grants.c.state == GrantState.RETRYING.value,
                    grants.c.next_try_at > self._clock(),
                )
                .values(next_try_at=0.0),
            )
