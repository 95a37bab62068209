"""Ads as they are read from a pool: literals only, bounded, around those that cannot be read.

A job may write nearly every attribute of its own ad, and a node all of a slot's.  No expression of
a job's is evaluated, and of a slot's only one such as ``SlotTypeID == 2``.  Text is decoded with
replacement and cut; numbers that are none are left out.  One attribute that is nested too deeply
makes HTCondor's library refuse the answer to the whole query ("Failed to fetch ads", measured with
23.9): such a query is asked again in parts.  A schedd that is asked for an attribute follows what
that refers to, which took 20 s for one job's chain of ``strcat``: jobs are first told apart by
whether all that is asked for is written as literals.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.foreign_text import on_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Ask = Callable[[str, list[str]], Sequence[Any]]
    """Takes a constraint and a projection, and returns ads."""

Ad = dict[str, Any]
UNREADABLE = "unreadable"
"""Key under which a plain ad has the names of the attributes that could not be read."""
LONGEST = 2000
"""Characters of a text that are kept."""
_LARGEST = 2**63
_MOST = 64
"""Queries that one reading may take."""
_REMEMBERED = 60.0
"""Seconds until an attribute that could not be read is tried again."""
_SHORT = re.compile(r"[^\[\]{}]{1,200}", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_FUNCTION = re.compile(r"\w\s*\(")
_KEY = re.compile(r"[\w@.:+-]{1,256}")


# As `unparse` writes literals, and nothing for what is not there.  Without a backslash, of which
# daemons make different things: (?![]^[])[[-^] is one.
_LITERAL = (
    r'(?s)^("(?:[^"[-^]|[]^[]|(?![]^[])[[-^].)*+"|-?[0-9.]+(?:E[-+][0-9]+)?|true|false|undefined|)$'
)


def literal(names: Sequence[str]) -> str:
    """Return the condition that attributes are literals or absent; it evaluates none of them."""
    pattern = _LITERAL.replace('"', r"\"")
    return " && ".join(f'regexp("{pattern}", unparse({name}), "i")' for name in names) or "true"


class _Spent(Exception):
    """A reading has taken as many queries as it may."""


def plain(ad: Any, names: Sequence[str], *, comparisons: bool = False) -> Ad:
    """Return an ad as JSON takes it: text, numbers and truth values, nothing else.

    Parameters
    ----------
    ad
        A ClassAd.
    names
        The attributes that were asked for.
    comparisons
        Whether short expressions without functions, of attributes that are literals, are evaluated.
    """
    found: Ad = {}
    for name in names:
        value = _value(ad, name)
        if comparisons and value is not None and not _is_plain(value):
            value = _compared(ad, name, str(value))
        if _is_plain(value):
            found[name] = on_one_line(value, LONGEST) if isinstance(value, str) else value
    return found


def _value(ad: Any, name: str) -> Any:
    try:
        return ad[name]
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace")
    except (KeyError, ValueError, OverflowError):
        return None


def _compared(ad: Any, name: str, expression: str) -> Any:
    if not _SHORT.fullmatch(expression) or _FUNCTION.search(expression):
        return None
    alone = type(ad)()
    for word in _WORD.findall(expression):
        if _is_plain(value := _value(ad, word)):
            alone[word] = value
    alone[name] = ad[name]
    return alone.eval(name)


def _is_plain(value: object) -> bool:
    # HTCondor's own undefined and error are a kind of int: hence the exact types.
    if type(value) in {bool, str}:
        return True
    return type(value) in {int, float} and math.isfinite(value) and abs(value) < _LARGEST  # type: ignore[arg-type]


@dataclass
class Reader:
    """Reads ads of one kind, and remembers what of them could not be read.

    Attributes
    ----------
    key
        The attribute that tells ads apart, which its subject cannot write: ``ClusterId``, ``Name``.
    also
        Further attributes that are always read with it.
    comparisons
        See :func:`plain`.
    literals
        Whether an ad's subject may have written expressions that are slow to follow.
    clock
        Seconds.
    """

    key: str
    also: tuple[str, ...] = ()
    comparisons: bool = False
    literals: bool = False
    clock: Callable[[], float] = time.monotonic
    _bad: dict[Any, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def read(self, ask: Ask, constraint: str, names: Sequence[str]) -> list[Ad]:
        """Return all ads, each with what of it can be read.

        Parameters
        ----------
        ask
            Makes a query.
        constraint
            Which ads; it must not hold an attribute that their subjects can set to an expression.
        names
            Which attributes.

        Raises
        ------
        Exception
            What `ask` raised, if not even the ads' keys can be read.
        """
        now = self.clock()
        self._bad = {key: bad for key, bad in self._bad.items() if bad[0] > now}
        good = constraint
        if self._bad:
            good = f"({constraint}) && {self._among(self._bad)} =!= true"
        left = _MOST

        def ask_within(which: str, what: Sequence[str]) -> list[Ad]:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Spent
            found = ask(which, list(what))
            return [plain(ad, what, comparisons=self.comparisons) for ad in found]

        plainly = f"({good}) && {self._literal(names)}"
        try:
            found = ask_within(plainly, names)
        except Exception:
            found = self._in_parts(ask_within, plainly, names, self._known(ask, plainly))
        if self.literals:
            odd = self._known(ask, f"({good}) && ({self._literal(names)}) =!= true")
            for key, known in odd.items():
                found += self._in_pieces(ask_within, good, names, key, known)
        there = {ad[self.key] for ad in found}
        for key in [key for key in self._bad if key not in there]:
            found += self._again(ask_within, constraint, names, key, ask)
        return found

    def _literal(self, names: Sequence[str]) -> str:
        return literal([name for name in names if name != self.key]) if self.literals else "true"

    def _among(self, keys: Any) -> str:
        values = (f'"{key}"' if isinstance(key, str) else str(key) for key in keys)
        return f"member({self.key}, {{{', '.join(values)}}})"

    def _known(self, ask: Ask, constraint: str) -> dict[Any, list[Ad]]:
        """Return what tells the ads apart, by their keys."""
        known: dict[Any, list[Ad]] = {}
        for ad in ask(constraint, [self.key, *self.also]):
            found = plain(ad, [self.key, *self.also])
            key = found.get(self.key)
            if key is not None and (not isinstance(key, str) or _KEY.fullmatch(key)):
                known.setdefault(key, []).append(found)
        return known

    def _in_parts(
        self, ask: Ask, constraint: str, names: Sequence[str], known: dict[Any, list[Ad]]
    ) -> list[Ad]:
        """Read ads by halves, until the one that cannot be read is alone."""
        keys = list(known)
        if len(keys) == 1:
            return self._in_pieces(ask, constraint, names, keys[0], known[keys[0]])
        found: list[Ad] = []
        for half in filter(None, (keys[: len(keys) // 2], keys[len(keys) // 2 :])):
            try:
                found += ask(f"({constraint}) && {self._among(half)}", list(names))
            except _Spent:
                unread = sorted(names)
                found += [{**ad, UNREADABLE: unread} for key in half for ad in known[key]]
            except Exception:
                found += self._in_parts(ask, constraint, names, {key: known[key] for key in half})
        return found

    def _in_pieces(
        self, ask: Ask, constraint: str, names: Sequence[str], key: Any, known: list[Ad]
    ) -> list[Ad]:
        """Read one ad by halves of its attributes, and remember which cannot be read."""
        which = f"({constraint}) && {self._among([key])}"
        always = (self.key, *self.also)
        ads = {tuple(ad.get(name) for name in always): dict(ad) for ad in known}

        def unread(some: list[str]) -> set[str]:
            try:
                found = ask(f"{which} && {self._literal(some)}", [*always, *some])
                if not found and self.literals:
                    raise ValueError("not as literals")
                for ad in found:
                    ads.setdefault(tuple(ad.get(name) for name in always), {}).update(ad)
            except _Spent:
                return set(some)
            except Exception:
                half = len(some) // 2
                return unread(some[:half]) | unread(some[half:]) if half else set(some)
            return set()

        bad = unread([name for name in names if name not in always])
        self._bad[key] = (self.clock() + _REMEMBERED, frozenset(bad))
        return [{**ad, UNREADABLE: sorted(bad)} for ad in ads.values()]

    def _again(
        self, ask: Ask, constraint: str, names: Sequence[str], key: Any, unbounded: Ask
    ) -> list[Ad]:
        """Read an ad without what could not be read a while ago."""
        which = f"({constraint}) && {self._among([key])}"
        bad = self._bad[key][1]
        wanted = [name for name in names if name not in bad]
        found: Sequence[Ad] = ()
        try:
            found = ask(f"{which} && {self._literal(wanted)}", wanted)
            more = self.literals and not found
        except Exception:
            more = True
        if more:
            known = self._known(unbounded, which).get(key)
            return self._in_pieces(ask, constraint, names, key, known) if known else []
        return [{**ad, UNREADABLE: sorted(bad)} for ad in found]
