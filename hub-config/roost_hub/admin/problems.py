"""What is out of order, the worst first: what somebody who is called at night has to see.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MANY = 3
"""Failures among the recent starts of a profile that are no accident, if they are half of them."""
_WORST_FIRST = ("danger", "warning")

Problem = dict[str, Any]
"""``level``: ``danger`` or ``warning``; ``what``: a sentence, in parts, a number being a time in
seconds since the epoch; ``said``: more sentences, as whoever noticed it put them."""


def problems(report: Mapping[str, Any]) -> list[Problem]:
    """Return what is out of order in a report, the worst first."""
    found = [
        *_site_file(report["site_file"]),
        *_tokens(report["tokens"]),
        *(problem for cluster in report["clusters"] for problem in _cluster(cluster)),
        *(problem for profile in report["profiles"] for problem in _profile(profile)),
    ]
    if not report["recovered"]:
        found.append(_problem("warning", "The hub is still taking up the sessions that it had."))
    return sorted(found, key=lambda problem: _WORST_FIRST.index(problem["level"]))


def _problem(level: str, *what: str | float, said: list[str] | None = None) -> Problem:
    return {"level": level, "what": list(what), "said": said or []}


def _site_file(file: Mapping[str, Any]) -> Iterator[Problem]:
    if not file["good"]:
        what = ("The site file is refused; the one of ", file["loaded_at"], " stays in force.")
        yield _problem("danger", *what, said=file["said"])


def _tokens(tokens: Mapping[str, Any]) -> Iterator[Problem]:
    if not tokens["good"]:
        yield _problem("danger", "Tokens are not looked after.", said=tokens["said"])
    elif tokens["outage_seconds"]:
        yield _problem("warning", "Some tokens cannot be renewed.", said=tokens["said"])


def _cluster(cluster: Mapping[str, Any]) -> Iterator[Problem]:
    name, sessions = cluster["name"], cluster["sessions"]
    if cluster["away_since"] is not None:
        kept = "Its session goes on." if sessions == 1 else f"Its {sessions} sessions go on."
        said = [text for text in (cluster["problem"], kept if sessions else "") if text]
        since = cluster["away_since"]
        yield _problem("danger", f"Cluster {name} has not answered since ", since, ".", said=said)
        return
    if cluster["strangers"]:
        some = f"{cluster['strangers']} jobs on cluster {name} have this hub's hub_id"
        one = f"A job on cluster {name} has this hub's hub_id"
        what = f"{one if cluster['strangers'] == 1 else some}, but not from this hub."
        why = (
            "Does another hub have the same hub_id in its site file? Each needs one of its own.",
            "This hub leaves such jobs alone. The hub's log names one of them.",
        )
        yield _problem("warning", what, said=list(why))
    if cluster["sample_problem"]:
        what = f"What is free on cluster {name} is not known."
        yield _problem("warning", what, said=[cluster["sample_problem"]])
    for pool in cluster["pools"]:
        if pool["problem"]:
            what = f"Nothing starts on cluster {name}, {pool['name']}."
            yield _problem("warning", what, said=[pool["problem"]])


def _profile(profile: Mapping[str, Any]) -> Iterator[Problem]:
    starts = profile["starts"]
    failed, recent = starts["recent_failures"], starts["recent"]
    if failed >= MANY and 2 * failed >= recent:
        yield _problem(
            "warning", f"{failed} of the last {recent} starts of {profile['title']} failed."
        )
