from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from roost_spawner.capacity import Sample
from roost_spawner.clusters.base import Capacity, Pool, Room
from roost_spawner.errors import ChoiceRefused
from roost_spawner.form import age, render_form
from roost_spawner.offers import offers
from roost_spawner.options import flatten, resolve
from roost_spawner.site.loader import parse_site

pytestmark = pytest.mark.unit

SITE = parse_site(
    """\
hub_id: h
hub_url: https://hub.example.org/
clusters:
  naf: {kind: htcondor, collector: cm, schedd: ap, watch_token: /t, audience: a}
profiles:
  interactive:
    title: Inter<b>active
    description: "<script>alert(1)</script> & more"
    cluster: naf
    walltime: {default: 12h, max: 24h}
  gpu: {title: GPU, cluster: naf, gpus: {choices: [1, 2]}, groups: [/gpu]}
""",
    Path("site.yaml"),
)


NOW = 1_000_000.0
ROOM = Room(count=4, cpus=8, memory_mib=8192, gpus=2)


def form(site, groups, last, *, again=False, shares=False, at=NOW - 3, folders=(), **pool):
    """Return the form's HTML where a cluster has said what it has."""
    slots = Pool(
        **(
            {"total": 40, "free": 12, "unit": "slots", "rooms": (ROOM,), "free_rooms": (ROOM,)}
            | pool
        )
    )
    sample = Sample(at, Capacity({"reserved": slots}, by="slot"))
    found = offers(site, groups, {}, {"naf": sample}, now=NOW)
    return render_form(found, last, now=NOW, again=again, shares=shares, folders=folders)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.inputs = []
        self.labels = set()
        self.scripts = 0
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "label":
            self.labels.add(given["for"])
        elif tag in {"input", "select"}:
            self.inputs.append(given)
        self.scripts += tag == "script"

    def named(self, name):
        return [given for given in self.inputs if given["name"] == name]


def test_each_card_is_a_radio_button_with_a_label_and_the_first_is_chosen():
    page = Page(form(SITE, ["gpu"], {}))
    _, *radios = page.named("profile")
    assert [radio["value"] for radio in radios] == ["interactive", "gpu"]
    assert ["checked" in radio for radio in radios] == [True, False]
    assert {given["id"] for given in page.inputs if given.get("type") != "hidden"} <= page.labels


def test_what_the_site_file_says_cannot_become_a_script():
    text = form(SITE, [], {})
    assert Page(text).scripts == 0
    assert "&lt;script&gt;" in text
    assert "Inter&lt;b&gt;active" in text


def test_other_groups_profiles_are_not_shown():
    assert "gpu" not in form(SITE, ["/users"], {})


def test_only_what_can_be_chosen_is_a_field():
    page = Page(form(SITE, ["gpu"], {}))
    assert {given["name"] for given in page.inputs} == {
        "profile",
        "interactive.walltime",
        "gpu.gpus",
    }


def test_the_last_choice_is_chosen_again():
    text = form(SITE, ["gpu"], {"profile": "gpu", "gpus": "2"})
    page = Page(text)
    assert ["checked" in given for given in page.named("profile")] == [False, False, True]
    assert "<option selected>2</option>" in text
    stale = form(SITE, [], {"profile": "gpu", "gpus": "2"})
    assert "checked" in Page(stale).named("profile")[1]


def test_a_last_choice_that_is_not_allowed_any_more_gives_the_default():
    text = form(SITE, [], {"profile": "interactive", "walltime": '99h"><script>'})
    page = Page(text)
    assert page.scripts == 0
    assert page.named("interactive.walltime")[0]["value"] == "12h"


def test_what_was_refused_is_shown_as_it_was_written_and_marked():
    text = form(SITE, [], {"profile": "interactive", "walltime": '99h"><script>'}, again=True)
    page = Page(text)
    assert page.scripts == 0
    (field,) = page.named("interactive.walltime")
    assert (field["value"], field["aria-invalid"]) == ('99h"><script>', "true")
    assert "is-invalid" in field["class"]


def test_the_form_as_it_is_is_a_valid_choice():
    page = Page(form(SITE, [], {}))
    sent = {}
    for given in page.inputs:
        sent.setdefault(given["name"], []).append(given.get("value", ""))
    assert resolve(SITE, [], flatten(sent)).resources.walltime_s == 43200


def test_somebody_without_a_profile_is_told_so():
    site = SITE.model_copy(update={"profiles": {"gpu": SITE.profiles["gpu"]}})
    assert "No profile is open to you" in form(site, [], {})


def test_sharing_tokens_is_on_the_form_where_it_may_be_done():
    assert "share_tokens" in form(SITE, [], {}, shares=True)
    assert "share_tokens" not in form(SITE, [], {})


def test_a_card_says_what_is_free_when_it_starts_and_how_old_that_is():
    text = form(SITE, [], {})
    assert "12 of 40 reserved slots free" in text
    assert "Starts now<" in text
    assert "just now" in text


def test_a_card_that_has_to_wait_says_why_and_can_be_chosen():
    text = form(SITE, [], {}, free=0, free_rooms=(), waiting=2)
    assert "No reserved slot is free. 2 jobs wait for it." in text
    radio = Page(text).named("profile")[1]
    assert "disabled" not in radio
    assert "checked" in radio


def test_a_card_that_never_starts_cannot_be_chosen_and_another_is():
    plain = Room(count=1, cpus=8, memory_mib=8192)
    site = SITE.model_copy(update={"profiles": dict(reversed(SITE.profiles.items()))})
    _, first, second = Page(form(site, ["gpu"], {"profile": "gpu"}, rooms=(plain,))).named(
        "profile"
    )
    assert (first["value"], "disabled" in first, "checked" in first) == ("gpu", True, False)
    assert "checked" in second
    _, first, _ = Page(form(site, ["gpu"], {"profile": "gpu"})).named("profile")
    assert "checked" in first


def test_where_nothing_can_be_chosen_nothing_is_started():
    page = Page(form(SITE, [], {}, problem="All nodes are away."))
    assert not [given for given in page.inputs if "checked" in given]
    sent = {"profile": [given["value"] for given in page.named("profile")][:1]}
    with pytest.raises(ChoiceRefused, match="No profile is chosen; choose one of: interactive"):
        resolve(SITE, [], flatten(sent))


def test_what_a_card_tries_when_it_does_not_start_is_told():
    start = SITE.profiles["interactive"].model_copy(
        update={"overflow": ("gpu", "hidden"), "patience": 30}
    )
    site = SITE.model_copy(update={"profiles": {**SITE.profiles, "interactive": start}})
    assert "If it does not start within 30s: GPU on naf." in form(site, ["gpu"], {})
    assert "If it does not start" not in form(site, [], {})


def test_a_sites_own_template_goes_before_ours_and_can_extend_it(tmp_path):
    (tmp_path / "roost_form.html").write_text(
        '{% extends "roost/roost_form.html" %}'
        "{% block card %}<p>ours</p>{{ super() }}{% endblock card %}"
    )
    text = form(SITE, [], {}, folders=(str(tmp_path),))
    assert "<p>ours</p>" in text
    assert "12 of 40 reserved slots free" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (21, "21 s ago"), (125, "2 min ago"), (7200, "2 h ago")],
)
def test_the_age_of_a_figure_is_told_as_people_do(seconds, words):
    assert age(seconds) == words
