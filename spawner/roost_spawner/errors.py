"""What can go wrong with a session.

* RoostError
  x ClusterError
    + ClusterUnreachable   (retryable: nobody answered; says nothing about any job)
      - NotReached         (retryable: the call did not even arrive; it is safe to repeat)
    + ClusterRefused       (terminal: the scheduler answered no)
      - NotAuthorized      (terminal: it does not take this identity)
      - NoJob              (terminal: the profile describes no job, at no try and for nobody)
  x SessionError
    + ChoiceRefused        (terminal: what the user asked for is not allowed)
    + SessionFailed        (terminal: the job ended, was held, or never came up)
    + ProofRefused         (terminal: a caller could not prove to be the job)
  x SiteError              (the site file is wrong; names the line)

Every error carries ``sentence``, for the user, apart from ``detail``, for the log.  Neither ever
holds a token.
"""

from __future__ import annotations

from roost_shepherd.telling import TellingError


class RoostError(TellingError):
    """Base of all errors of this package."""


class ClusterError(RoostError):
    """A cluster could not do what it was asked."""


class ClusterUnreachable(ClusterError):
    """Nobody answered in time.  Unknown is not dead: no job is judged by this."""

    retryable = True


class NotReached(ClusterUnreachable):
    """The call did not arrive: nothing was taken, and to call again does nothing twice."""


class ClusterRefused(ClusterError):
    """The scheduler answered, and said no."""


class NotAuthorized(ClusterRefused):
    """The scheduler does not take this identity for this act."""


class NoJob(ClusterRefused):
    """What the profile has the hub submit is no job: a submit command cannot be understood."""


class SessionError(RoostError):
    """One session cannot go on."""


class ChoiceRefused(SessionError):
    """The user's choice is outside of what the profile allows."""


class SessionFailed(SessionError):
    """The job ended, was held, or its server never came up."""


class ProofRefused(SessionError):
    """A caller could not prove to be the job."""


class SiteError(RoostError):
    """The site file cannot be used; the sentence names the place and what is allowed."""
