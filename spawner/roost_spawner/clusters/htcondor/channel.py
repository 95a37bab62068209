"""The hub's end of the worker process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

_MAX_LINE = 64 * 1024 * 1024  # ten thousand jobs, some kilobytes each
_GRACE = 5.0
"""Seconds beyond a call's own limit after which the worker itself is taken for hung."""
_USERS_AT_ONCE = 10
"""Calls as users that are under way together.  More of them get no answer sooner, and a schedd that
has a thousand connections to authenticate answers nobody within a call's time."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")

COMMAND = (sys.executable, "-I", "-m", "roost_spawner.clusters.htcondor.worker")


class CallFailed(Exception):
    """A call had no result.

    Attributes
    ----------
    kind
        ``htcondor`` (it said no, or could not), ``timeout`` or ``died``.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Channel:
    """Calls to a worker, which is started at need and replaced when it hangs or dies.

    Parameters
    ----------
    settings
        The worker's first line.
    log
        Told when a worker is replaced.
    command
        How to start it.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        log: logging.Logger | logging.LoggerAdapter[Any],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings = dict(settings)
        self._log = log
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._users = asyncio.Semaphore(_USERS_AT_ONCE)

    async def call(self, name: str, *, within: float, **arguments: Any) -> Any:
        """Make one call and return what it gave.

        Parameters
        ----------
        name
            One of the worker's calls.
        within
            Seconds after which the call's process is killed; a call as a user may have to wait for
            its turn before.
        **arguments
            `lane` for the watcher or `token` for a user, and what the call takes.

        Raises
        ------
        CallFailed
            If there is no result.
        """
        async with self._users if "token" in arguments else contextlib.nullcontext():
            return await self._call(name, within, arguments)

    async def _call(self, name: str, within: float, arguments: Mapping[str, Any]) -> Any:
        process = await self._running()
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        message = {"id": number, "call": name, "timeout": within, **arguments}
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(within + _GRACE):
                await process.stdin.drain()
                return await answer
        except TimeoutError:
            self._log.warning("The HTCondor worker hangs (%s); it is replaced", name)
            self._end(process)
            raise CallFailed("timeout", "the worker did not answer") from None
        except ConnectionError:
            raise CallFailed("died", "the worker has ended") from None
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End the worker."""
        process, reader = self._process, self._reader
        self._process = self._reader = None
        if process is None or reader is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # the polite way: it cleans up after itself
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            self._end(process)
            await process.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await reader

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=_MAX_LINE,
                    # No identity, no configuration and no secret of the hub's.
                    env={name: os.environ[name] for name in _PASSED_ON if name in os.environ}
                    | {"CONDOR_CONFIG": os.devnull},
                    start_new_session=True,
                )
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
                self._reader = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._settle(json.loads(line))
        except asyncio.CancelledError:
            self._end(process)  # the loop ends without `close`: leave nothing behind
            raise
        except ValueError:
            self._log.exception("The HTCondor worker talks nonsense; it is replaced")
            self._end(process)
        finally:
            await process.wait()
            if self._process in (process, None):
                self._process = None
                for answer in self._waiting.values():
                    if not answer.done():
                        answer.set_exception(CallFailed("died", "the worker has ended"))

    def _settle(self, message: dict[str, Any]) -> None:
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            return
        if "ok" in message:
            answer.set_result(message["ok"])
        else:
            answer.set_exception(CallFailed(message["kind"], message["error"]))

    def _end(self, process: asyncio.subprocess.Process) -> None:
        # With its children: the group is its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if self._process is process:
            self._process = None
