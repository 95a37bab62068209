"""Answers of a provider in memory, tried until the vault has them.

A rotated refresh token exists nowhere else: the one in the vault is used up.  So an answer is kept
and tried for as long as the database is away, and nothing is asked with the used token meanwhile.
What cannot be written at once is spilled into a file too, for the case that this process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from roost_shepherd import metrics
from roost_shepherd.errors import VaultUnusable

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from roost_shepherd.revocation import Revocations
    from roost_shepherd.spill import Spill
    from roost_shepherd.threads import Threads
    from roost_shepherd.vault.records import Answered, StoredToken, Want
    from roost_shepherd.vault.store import Vault

P = ParamSpec("P")
T = TypeVar("T")

_SOON = 2.0  # seconds after which a write that goes on counts as late
_SPILL_SOON = 1.0  # seconds that a file is waited for
_PAUSES = (0.2, 0.5, 1.0)  # seconds between tries; the last one again and again
_LAST_TRIES = 8.0  # seconds of them at the end, where nothing could be spilled


@dataclass(slots=True, eq=False)
class _Kept:
    answered: Answered
    told: asyncio.Future[bool]
    """Whether the token may be handed out, known when it is written or that is late."""
    spilled: bool = False
    spilling: asyncio.Task[None] | None = None
    late: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class KeptAnswers:
    """Every answer that is not in the vault yet, one for each owner.

    Parameters
    ----------
    vault, threads
        Where answers are committed.
    spill
        Where they are kept beyond the end of this process.
    revocations
        Takes what came back for a grant that was given up meanwhile.
    log
        Takes no token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        spill: Spill,
        revocations: Revocations,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._spill = spill
        self._revocations = revocations
        self._log = log
        self._all: dict[str, _Kept] = {}
        self._closing = asyncio.Event()
        # Apart from the vault's threads, which a database that hangs would hold.
        self._files = ThreadPoolExecutor(1, thread_name_prefix="roost-answers")

    def holds(self, owner: str) -> bool:
        """Tell whether the owner's refresh token in the vault is used up."""
        return owner in self._all

    def token(self, owner: str, want: Want, *, take: bool = False) -> StoredToken | None:
        """Return the owner's token for this, if that is what is kept.

        Parameters
        ----------
        owner, want
            Whose token, for what.
        take
            Whether a session uses it, so that the vault will know.
        """
        kept = self._all.get(owner)
        if kept is None or not kept.late or kept.answered.want != want:
            return None
        if take:
            kept.answered = replace(kept.answered, token=replace(kept.answered.token, taken=True))
        return kept.answered.token

    async def commit(self, answered: Answered) -> bool:
        """Write an answer, however long it takes, and return when its token may be handed out.

        That is when it is written, or when that is late; it is tried further then.

        Returns
        -------
        bool
            ``False`` if the grant was replaced or ended since it was read.
        """
        return await asyncio.shield(self._begin(answered).told)

    async def take_up(self) -> None:
        """Try what an earlier process could not write."""
        for answered in await self._in_file_thread(self._spill.all):
            owner = answered.grant.owner
            if owner not in self._all:
                self._log.warning("An answer for %s was left by an earlier process", owner)
                self._begin(answered, spilled=True)

    async def close(self) -> None:
        """Try once more what is not written, and leave it in a file else."""
        self._closing.set()
        tasks = [kept.task for kept in self._all.values() if kept.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_SOON + 1.0)
        if not all(kept.spilled for kept in self._all.values()):
            await asyncio.wait(tasks, timeout=_LAST_TRIES)
        for owner, kept in self._all.items():
            if kept.task is not None:
                kept.task.cancel()
            if kept.spilled:
                self._log.warning("The answer for %s stays in a file until the next start", owner)
            else:
                self._log.error("The answer for %s is lost: %s may have to log in", owner, owner)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        self._all.clear()
        metrics.kept_answers.set(0)
        self._files.shutdown(wait=False)

    # -- inside ------------------------------------------------------------------------------

    def _begin(self, answered: Answered, *, spilled: bool = False) -> _Kept:
        kept = _Kept(answered, asyncio.get_running_loop().create_future(), spilled=spilled)
        kept.late = spilled
        self._all[answered.grant.owner] = kept
        kept.task = asyncio.create_task(self._until_written(kept))
        return kept

    async def _until_written(self, kept: _Kept) -> None:
        owner = kept.answered.grant.owner
        written = False
        try:
            written = await self._written(kept)
        except VaultUnusable:
            return  # told to end; it is in a file
        except Exception as error:
            self._log.exception("The answer for %s cannot be written", owner)
            if not kept.told.done():
                kept.told.set_exception(error)
                kept.told.exception()  # looked at, even when nobody waits
        if not kept.told.done():
            kept.told.set_result(written)
        if self._all.get(owner) is kept:
            del self._all[owner]
        if kept.late:
            self._log.warning("The answer for %s is in the vault now", owner)
            metrics.kept_answers.set(sum(other.late for other in self._all.values()))
        if kept.spilling is not None:
            await kept.spilling
        if kept.spilled:
            await self._in_file_thread(self._spill.drop, kept.answered)

    async def _written(self, kept: _Kept) -> bool:
        """Try until it is written.  Raises ``VaultUnusable`` only at the end of this process."""
        tries = 0
        while True:
            attempt = asyncio.create_task(self._once(kept.answered))
            # A second one while the first goes on would find the first one's work.
            await asyncio.wait([attempt], timeout=_SOON)
            if not attempt.done():
                await self._note_late(kept, f"no answer from the database in {_SOON:.0f} s")
            try:
                return await asyncio.shield(attempt)
            except VaultUnusable as error:
                await self._note_late(kept, str(error))
                if self._closing.is_set() and kept.spilled:
                    raise
            pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
            tries += 1
            if self._closing.is_set():
                await asyncio.sleep(pause)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), pause)

    async def _once(self, answered: Answered) -> bool:
        if await self._threads.run(
            self._vault.commit_renewal,
            answered.grant,
            answered.want,
            answered.token,
            refresh_token=answered.refresh_token,
            refresh_expires_at=answered.refresh_expires_at,
        ):
            return True
        if answered.refresh_token is not None:
            await self._revocations.came_back(answered.grant.owner, answered.refresh_token)
        return False

    async def _note_late(self, kept: _Kept, why: str) -> None:
        if not kept.spilled and (kept.spilling is None or kept.spilling.done()):
            kept.spilling = asyncio.create_task(self._spilled(kept))
        if kept.late:
            return
        kept.late = True
        if kept.spilling is not None:
            # A disk that hangs keeps nobody from the token, nor the next try from its turn.
            await asyncio.wait([kept.spilling], timeout=_SPILL_SOON)
        metrics.kept_answers.set(sum(other.late for other in self._all.values()))
        self._log.warning(
            "Could not write a renewal of %s yet, it is kept in memory%s: %s",
            kept.answered.grant.owner,
            " and in a file" if kept.spilled else "",
            why,
        )
        if not kept.told.done():
            kept.told.set_result(True)

    async def _spilled(self, kept: _Kept) -> None:
        kept.spilled = await self._in_file_thread(self._spill.keep, kept.answered)

    async def _in_file_thread(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._files, partial(function, *args, **kwargs))
