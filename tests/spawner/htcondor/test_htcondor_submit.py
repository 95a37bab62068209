"""The submit description: what the job gets, and what a wish cannot smuggle in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.base import JobRequest, Launcher, Resources, SlotClass
from roost_spawner.clusters.htcondor.submit import description, one_line, quoted_arguments

pytestmark = pytest.mark.unit


def wish(mark="hub/abcdefgh", code="pass", **resources):
    limits = {"cpus": 1, "memory_mib": 1024, "walltime_s": 3600} | resources
    return JobRequest(mark, Resources(**limits), Launcher("/opt/jupyter/bin/python", code))


def unquoted(value: str) -> list[str]:
    """Read the value of ``arguments`` as condor_submit's manual page describes it."""
    assert value[0] == value[-1] == '"'
    text = value[1:-1].replace("$(DOLLAR)", "$").replace('""', '"')
    words, word, quoted, begun, position = [], "", False, False, 0
    while position < len(text):
        letter = text[position]
        if letter == "'" and quoted and text[position + 1 : position + 2] == "'":
            word += "'"
            position += 1
        elif letter == "'":
            quoted, begun = not quoted, True
        elif letter.isspace() and not quoted:
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + letter, True
        position += 1
    assert not quoted
    return [*words, word] if begun else words


printable = st.text().filter(str.isprintable).filter(lambda text: "$$" not in text)


@given(st.lists(printable, max_size=5))
def test_the_job_gets_exactly_the_words_that_were_meant(words):
    assert unquoted(quoted_arguments(words)) == words


@pytest.mark.parametrize("word", ["$$(Arch)", "x$$[1+1]", "a\nb", "\0"])
def test_what_htcondor_would_replace_or_cut_is_refused(word):
    with pytest.raises(ValueError):
        quoted_arguments([word])


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_source_becomes_one_line_that_does_the_same(text):
    code = f"found = {text!r}\nagain = found\n"
    line = one_line(code)
    scope: dict[str, object] = {}
    exec(line, scope)
    assert line.isprintable()
    assert scope["again"] == text


def test_a_macro_in_the_code_stays_text():
    found = description(wish(code="x = '$(HOME) $ENV(PATH)'"))["arguments"]
    assert "$(HOME)" not in found
    assert unquoted(found) == ["-I", "-c", "x = '$(HOME) $ENV(PATH)'"]


def test_a_notebook_moves_no_file_and_bears_its_mark():
    found = description(wish(mark="desy-naf/Ab_-1234"))
    assert found["should_transfer_files"] == "NO"
    assert found["initialdir"] == "/"
    assert found["My.RoostSession"] == '"desy-naf/Ab_-1234"'
    assert found["My.RoostHub"] == '"desy-naf"'
    assert found["My.RoostWalltime"] == "3600"
    assert "log" not in found


def test_the_job_may_write_its_own_ad_and_not_reach_the_access_points_files():
    found = description(wish())
    assert found["My.WantRemoteUpdates"] == "true"
    assert found["My.WantIOProxy"] == "false"


def test_only_a_reserved_slot_takes_a_notebook_and_only_once():
    found = description(wish())
    assert found["My.IsRoostNotebook"] == "true"
    assert "TARGET.RoostSlot =?= true" in found["requirements"]
    assert "JobCurrentStartExecutingDate is undefined" in found["requirements"]


def test_an_ordinary_slot_is_asked_for_without_calling_it_a_notebook():
    found = description(wish(slot=SlotClass.ORDINARY, gpus=2))
    assert "My.IsRoostNotebook" not in found
    assert "RoostSlot" not in found["requirements"]
    assert found["request_gpus"] == "2"


@pytest.mark.parametrize(
    "mark",
    ["", "hub", "hub/short", 'hub/abcdefgh"', "hub/abc defgh", "/abcdefgh", "hub/a/bcdefghi"],
)
def test_a_mark_that_could_break_out_of_its_string_is_refused(mark):
    with pytest.raises(ValueError):
        description(wish(mark=mark))
