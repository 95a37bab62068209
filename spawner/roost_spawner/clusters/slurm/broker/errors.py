"""What the broker answers when it does not do what it was asked.

* BrokerError
  x BadRequest          (400: the request itself is wrong)
    + NoSuchNode        (400: no node could ever have what is asked for)
  x Unauthenticated     (401: no token, or one that does not verify)
  x Forbidden           (403: this identity may not do this)
    + ScopeMissing      (403: the token would have to carry another scope)
  x JobNotFound         (404: Slurm has no such job)
  x TooOften            (429: no job was made; ask again after a while)
  x SchedulerFailed     (502: Slurm answered with something else than an answer)
  x Unavailable         (503: Slurm or the identity provider does not answer; try again)
    + NotReached        (503: Slurm's controller was not even reached: nothing was taken)
* ConfigError           (the broker's own file is wrong; it does not start)

``sentence`` goes to the caller, ``detail`` to the log only.  Neither ever holds a token.
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of all answers that are not the wanted one.

    Parameters
    ----------
    sentence
        One plain sentence for whoever asked.
    detail
        What an admin wants to read in the log.
    """

    status = 500
    challenge: str | None = None
    """Error code for the ``WWW-Authenticate`` header (RFC 6750, section 3.1)."""
    kind: str | None = None
    """For programs: which of several errors with this status it is."""

    def __init__(self, sentence: str, *, detail: str = "") -> None:
        super().__init__(f"{sentence} [{detail}]" if detail else sentence)
        self.sentence = sentence
        self.detail = detail


class BadRequest(BrokerError):
    """The request is malformed, or asks for what this site does not hand out."""

    status = 400


class NoSuchNode(BadRequest):
    """No node of the partition could ever have what is asked for."""


class NoSuchAccount(BadRequest):
    """Slurm does not know the account that a job is charged to, or it is somebody else's."""


class Unauthenticated(BrokerError):
    """No access token that could be taken.

    Parameters
    ----------
    sentence, detail
        As for :class:`BrokerError`.
    given
        Whether a token was shown at all (RFC 6750, section 3: no error code if none was).
    """

    status = 401

    def __init__(self, sentence: str, *, detail: str = "", given: bool = True) -> None:
        super().__init__(sentence, detail=detail)
        self.challenge = "invalid_token" if given else ""


class Forbidden(BrokerError):
    """The identity is known, and may not do this."""

    status = 403


class ScopeMissing(Forbidden):
    """The token does not carry the scope for this act."""

    challenge = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs an access token with the scope {scope}.")
        self.scope = scope


class JobNotFound(BrokerError):
    """Slurm has no job of that number, or forgot it."""

    status = 404
    # Any proxy can answer 404; only this one may make a hub forget a job.
    kind = "no_such_job"


class TooOften(BrokerError):
    """An account submits more often than is allowed.

    Parameters
    ----------
    seconds
        After which it may submit again.
    """

    status = 429

    def __init__(self, seconds: int) -> None:
        super().__init__(
            f"You start notebooks on this cluster too often. Please try again in {seconds} s."
        )
        self.seconds = seconds


class SchedulerFailed(BrokerError):
    """Slurm answered, but not in a way that can be used."""

    status = 502


class Unavailable(BrokerError):
    """Nobody answered in time; says nothing about any job."""

    status = 503


class NotReached(Unavailable):
    """The controller was not reached: to ask again does nothing twice."""

    kind = "not_reached"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the setting and what is allowed."""
