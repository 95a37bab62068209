"""Ads of jobs that write what they like, read without their help."""

from __future__ import annotations

import classad2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.htcondor import capacity, explain, states
from roost_spawner.clusters.htcondor.ads import LONGEST, UNREADABLE, Reader, literal, plain

pytestmark = pytest.mark.unit

NAMES = ["ClusterId", "ProcId", "JobStatus", "Owner", "VacateReason", "HoldReason"]


def test_literals_are_taken_and_nothing_is_evaluated():
    ad = classad2.ClassAd(
        '[i = 5; t = true; r = 1.5; s = "x"; e = strcat("a", "b"); u = undefined; '
        'l = {1}; n = [x = 1]; m = MY.i; d = absTime("2020-01-01T00:00:00")]'
    )
    names = [*"itrseulnmd", "none"]
    assert plain(ad, names) == {"i": 5, "t": True, "r": 1.5, "s": "x"}


def test_text_is_decoded_with_replacement_cut_and_on_one_line():
    ad = classad2.ClassAd('[a = "\\377\\376ok"; b = "one\\ntwo"]')
    ad["c"] = "x" * 5000
    found = plain(ad, ["a", "b", "c"])
    assert found["a"] == "��ok"
    assert found["b"] == "one two"
    assert len(found["c"]) == LONGEST


def test_of_a_slot_a_comparison_of_literals_is_evaluated_and_nothing_longer():
    ad = classad2.ClassAd(
        '[id = 2; slot = (id == 2); far = slot; call = strcat("a", "b"); not_it = id == 3;'
        f" long = {' + '.join(['id'] * 100)}]"
    )
    names = ["slot", "far", "call", "not_it", "long", "none"]
    assert plain(ad, names, comparisons=True) == {"slot": True, "not_it": False}
    assert plain(ad, names) == {}


class Queue:
    """Jobs of whom some have attributes that fail the answer to every query that holds them."""

    def __init__(self, jobs):
        self.jobs = jobs  # ClusterId: names of bad attributes
        self.queries = 0
        self.down = False

    def ask(self, constraint, projection):
        self.queries += 1
        if self.down:
            raise OSError("no answer")
        found = []
        for number, bad in self.jobs.items():
            if not self._among(number, constraint):
                continue
            if bad & set(projection):
                raise RuntimeError("Failed to fetch ads from schedd, errmsg=")
            found.append({name: number if name == "ClusterId" else 0 for name in projection})
        return found

    def _among(self, number, constraint):
        for part in constraint.split("&&"):
            if "member(" in part:
                held = part.partition("{")[2].partition("}")[0]
                inside = str(number) in [item.strip() for item in held.split(",")]
                if inside == ("=!=" in part):
                    return False
        return True


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


def reader(clock):
    return Reader("ClusterId", also=("ProcId",), clock=clock)


def test_a_good_queue_takes_one_query(clock):
    queue = Queue({number: set() for number in range(5)})
    ads = reader(clock).read(queue.ask, "true", NAMES)
    assert queue.queries == 1
    assert {ad["ClusterId"] for ad in ads} == set(range(5))
    assert not any(UNREADABLE in ad for ad in ads)


@pytest.mark.parametrize("bad", [{"VacateReason"}, {"HoldReason", "Owner"}, {*NAMES[2:]}])
def test_a_bad_ad_costs_its_own_attributes_and_nobody_elses(clock, bad):
    queue = Queue({number: set() for number in range(1000)} | {77: bad})
    ads = {ad["ClusterId"]: ad for ad in reader(clock).read(queue.ask, "true", NAMES)}
    assert len(ads) == 1000
    assert ads[77][UNREADABLE] == sorted(bad)
    assert set(ads[77]) == set(NAMES) - bad | {UNREADABLE}
    assert not any(UNREADABLE in ad for number, ad in ads.items() if number != 77)
    assert queue.queries <= 64


def test_what_is_bad_is_remembered_for_a_while_and_then_tried_again(clock):
    queue = Queue({1: set(), 2: {"VacateReason"}, 3: set()})
    read = reader(clock)
    read.read(queue.ask, "true", NAMES)
    queue.queries = 0
    ads = read.read(queue.ask, "true", NAMES)
    assert queue.queries == 2
    assert sorted(ad["ClusterId"] for ad in ads) == [1, 2, 3]
    queue.jobs[2] = set()
    clock.now = 61
    assert not any(UNREADABLE in ad for ad in read.read(queue.ask, "true", NAMES))


def test_a_job_that_is_gone_is_not_made_up(clock):
    queue = Queue({1: set(), 2: {"VacateReason"}})
    read = reader(clock)
    read.read(queue.ask, "true", NAMES)
    del queue.jobs[2]
    assert [ad["ClusterId"] for ad in read.read(queue.ask, "true", NAMES)] == [1]


def test_more_bad_ads_than_a_reading_may_ask_for_are_there_without_attributes(clock):
    queue = Queue({number: {*NAMES[2:]} for number in range(200)})
    ads = reader(clock).read(queue.ask, "true", NAMES)
    assert {ad["ClusterId"] for ad in ads} == set(range(200))
    assert queue.queries <= 66


def test_a_schedd_that_does_not_answer_is_not_a_bad_ad(clock):
    queue = Queue({1: set()})
    queue.down = True
    with pytest.raises(OSError, match="no answer"):
        reader(clock).read(queue.ask, "true", NAMES)


ANYTHING = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(max_size=20),
)


@given(st.dictionaries(st.sampled_from(states.PROJECTION[2:]), ANYTHING))
def test_a_job_is_seen_whatever_its_attributes_hold(ad):
    found = states.view({"ClusterId": 1, "ProcId": 0, **ad})
    assert found.job_id == "1.0"
    assert str(found)


@given(st.lists(st.dictionaries(st.sampled_from(capacity.PROJECTION), ANYTHING), max_size=4))
def test_a_pool_is_counted_whatever_its_slots_say(slots):
    assert capacity.capacity(slots, {}).by == "slot"


@given(
    st.dictionaries(st.sampled_from(explain.JOB_PROJECTION[2:]), ANYTHING),
    st.lists(st.dictionaries(st.sampled_from(explain.SLOT_PROJECTION), ANYTHING), max_size=4),
)
def test_a_wait_is_explained_whatever_ads_say(job, slots):
    mine = {"ClusterId": 1, "ProcId": 0, **job}
    assert all(isinstance(text, str) for text in explain.Explanation([mine], slots).of("1.0"))


@pytest.mark.parametrize(
    ("expression", "is_one"),
    [
        ("1", True),
        ("-1.5e308", True),
        ("true", True),
        ("undefined", True),
        (r'"a\"b\\"', True),
        (r'"[]^ \\ x"', True),
        ("Chain12", False),
        ('"a" == Chain12', False),
        (r'"a\"" == Chain12', False),
        (r'"a\\" + "b"', False),
        ('"a^" + "b"', False),
        ("{1, 2}", False),
        ('real("NaN")', False),
        ("(1)", False),
        ("error", False),
    ],
)
def test_a_schedd_tells_literals_from_expressions_without_following_them(expression, is_one):
    chain = {f"Chain{i}": f"strcat(Chain{i - 1}, Chain{i - 1}, Chain{i - 1})" for i in range(1, 31)}
    text = "".join(f"{name} = {value};" for name, value in chain.items())
    ad = classad2.ClassAd(f'[{text} Chain0 = "x"; X = {expression.replace("12", "30")}]')
    ad["Is"] = classad2.ExprTree(literal(["X", "NotThere"]))
    assert ad.eval("Is") is is_one
