from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from roost_spawner.form import render_form
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
    page = Page(render_form(SITE, ["gpu"], {}, {}))
    radios = page.named("profile")
    assert [radio["value"] for radio in radios] == ["interactive", "gpu"]
    assert ["checked" in radio for radio in radios] == [True, False]
    assert {given["id"] for given in page.inputs} <= page.labels


def test_what_the_site_file_says_cannot_become_a_script():
    text = render_form(SITE, [], {}, {})
    assert Page(text).scripts == 0
    assert "&lt;script&gt;" in text
    assert "Inter&lt;b&gt;active" in text


def test_other_groups_profiles_are_not_shown():
    assert "gpu" not in render_form(SITE, ["/users"], {}, {})


def test_only_what_can_be_chosen_is_a_field():
    page = Page(render_form(SITE, ["gpu"], {}, {}))
    assert {given["name"] for given in page.inputs} == {
        "profile",
        "interactive.walltime",
        "gpu.gpus",
    }


def test_the_last_choice_is_chosen_again():
    text = render_form(SITE, ["gpu"], {}, {"profile": "gpu", "gpus": "2"})
    page = Page(text)
    assert ["checked" in radio for radio in page.named("profile")] == [False, True]
    assert "<option selected>2</option>" in text
    stale = render_form(SITE, [], {}, {"profile": "gpu", "gpus": "2"})
    assert "checked" in Page(stale).named("profile")[0]


def test_a_last_choice_that_is_not_allowed_any_more_gives_the_default():
    text = render_form(SITE, [], {}, {"profile": "interactive", "walltime": '99h"><script>'})
    page = Page(text)
    assert page.scripts == 0
    assert page.named("interactive.walltime")[0]["value"] == "12h"


def test_the_form_as_it_is_is_a_valid_choice():
    page = Page(render_form(SITE, [], {}, {}))
    sent = {given["name"]: [given.get("value", "")] for given in page.inputs}
    assert resolve(SITE, [], flatten(sent)).resources.walltime_s == 43200


def test_somebody_without_a_profile_is_told_so():
    site = SITE.model_copy(update={"profiles": {"gpu": SITE.profiles["gpu"]}})
    assert "No profile is open to you" in render_form(site, [], {}, {})


def test_sharing_tokens_is_on_the_form_where_it_may_be_done():
    def asks(site):
        return "share_tokens" in render_form(site, [], {}, {}, shares=True)

    never = SITE.profiles["interactive"].model_copy(update={"share_tokens": "never"})
    assert asks(SITE)
    assert not asks(SITE.model_copy(update={"share_tokens": "never"}))
    assert asks(SITE.model_copy(update={"profiles": {"a": never, **SITE.profiles}}))
    assert not asks(SITE.model_copy(update={"profiles": {"a": never}}))
