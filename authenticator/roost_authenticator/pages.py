"""What people read who cannot go on, as parts of JupyterHub's own error page.  Pure.

All words are ours: nothing that a provider wrote gets here, and what names a person (issuer and
subject, which the provider chose) is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, cast

from roost_shepherd.errors import AccountSuspended, AupRequired
from tornado import web


@dataclass(frozen=True, slots=True)
class Page:
    """A page's heading and content."""

    status: int
    title: str
    text: str
    html: str

    def error(self) -> web.HTTPError:
        """Return the error that JupyterHub shows as this page."""
        error: Any = web.HTTPError(self.status, self.text, reason=self.title)
        error.jupyterhub_message = self.text
        error.jupyterhub_html_message = self.html
        return cast("web.HTTPError", error)


def no_account(sentence: str, *, issuer: str, subject: str, contact: str, hub: str) -> Page:
    """Return the page for somebody without an account that can be used.

    Parameters
    ----------
    sentence
        What is the matter.
    issuer, subject
        Who it is.
    contact
        Whom to ask.
    hub
        The hub's URL, for those who are asked.
    """
    text = f"{sentence} Please ask {contact}, and quote this sentence."
    quote = f"Please give me an account on {hub}.\nIssuer: {issuer}\nSubject: {subject}"
    return Page(
        403,
        "You have no account here",
        text,
        f"<p>{escape(sentence)}</p>"
        f"<p>Please ask {escape(contact)}, and send them this:</p>"
        f'<pre id="roost-quote" class="text-start border rounded p-3" tabindex="0" '
        f'style="user-select: all">{escape(quote)}</pre>'
        "<p>One click into the box marks all of it. When they have added you, "
        '<a href="oauth_login">log in again</a>: nothing else needs to be done.</p>',
    )


def not_allowed(sentence: str, *, contact: str) -> Page:
    """Return the page for somebody whose groups do not let them in."""
    text = f"{sentence} Please ask {contact}."
    return Page(403, "You may not use this hub", text, f"<p>{escape(text)}</p>")


def waiting_for_the_user(
    error: AupRequired | AccountSuspended,
    *,
    issuer: str,
    sessions: int,
    good_until: str | None,
    stops: bool,
    again: str,
) -> Page:
    """Return the page for a policy that is not signed, or an account that is suspended.

    Parameters
    ----------
    error
        Which of the two, and its sentence.
    issuer
        The IAM, to go to.
    sessions
        How many sessions the user has.
    good_until
        Until when their tokens are good, in words.
    stops
        Whether the hub stops the sessions of somebody who lost access.
    again
        URL of a new login.
    """
    signing = isinstance(error, AupRequired)
    words = _sessions(sessions, good_until, stops=stops and not signing)
    title = "A policy waits for your signature" if signing else "Your account is suspended"
    done = "I have signed it: log in again" if signing else "It is active again: log in"
    return Page(
        403,
        title,
        " ".join(part for part in (error.sentence, words) if part),
        f"<p>{escape(error.sentence)}</p>"
        + (f"<p>{escape(words)}</p>" if words else "")
        + f'<p><a class="btn btn-primary" href="{escape(issuer)}">Go to {escape(issuer)}</a> '
        f'<a class="btn btn-outline-secondary" href="{escape(again)}">{done}</a></p>',
    )


def _sessions(count: int, good_until: str | None, *, stops: bool) -> str:
    if not count:
        return ""
    whose = "Your session" if count == 1 else f"Your {count} sessions"
    if stops:
        return f"{whose} {'is' if count == 1 else 'are'} being stopped."
    goes = "goes" if count == 1 else "go"
    serve = f"are good until {good_until}" if good_until else "serve to their end"
    return (
        f"{whose} {goes} on; the tokens in {'it' if count == 1 else 'them'} {serve}, "
        "and are renewed when you have logged in again."
    )


def logged_out(issuer: str, *, sessions: int, given_back: bool) -> str:
    """Return what the logout page says.

    Parameters
    ----------
    issuer
        The IAM.
    sessions
        How many sessions go on.
    given_back
        Whether the hub has given the grant up by now.
    """
    if given_back:
        return (
            f"You are logged out. The hub has given up your login at {issuer} and keeps "
            "none of your tokens."
        )
    if sessions:
        count = "One of your sessions goes" if sessions == 1 else f"{sessions} of your sessions go"
        return (
            f"You are logged out of the hub's pages. {count} on, and the tokens in "
            f"{'it' if sessions == 1 else 'them'} stay fresh; when the last one has ended, the "
            f"hub gives up your login at {issuer}."
        )
    return (
        f"You are logged out of the hub's pages. The hub gives up your login at {issuer} "
        "as soon as nothing of yours needs it any more."
    )
