"""What the pages are made of, without a hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH
from roost_hub import servers
from roost_hub.configure import TEMPLATES
from roost_hub.tokens import Health

pytestmark = pytest.mark.unit

EVIL = "\"'></script><script>alert(1)</script>"


def render(name, **values):
    # As JupyterHub makes it: its own templates are there under a prefix, too.
    own = Path(DATA_FILES_PATH) / "templates"
    loader = FileSystemLoader([TEMPLATES, own])
    environment = Environment(
        loader=ChoiceLoader([PrefixLoader({"templates": FileSystemLoader(own)}), loader]),
        autoescape=True,
    )
    names = {"escaped_name": "al%20ice", "json_escaped_name": "al ice", "name": "al ice"}
    names["server_url"] = lambda name: f"/user/al%20ice/{name}"
    return environment.get_template(name).render(
        user=SimpleNamespace(**names, spawners={}),
        base_url="/hub/",
        static_url=lambda path, **_: f"/static/{path}",
        no_spawner_check=True,
        parsed_scopes=(),
        **values,
    )


def pending(name, display_name=""):
    spawner = SimpleNamespace(name=name, display_name=display_name)
    return render("spawn_pending.html", spawner=spawner, progress_url="/hub/p?_xsrf=a&b")


def test_a_name_that_a_user_chose_is_text_on_the_pending_page():
    page = pending("two", EVIL)
    assert "<script>alert" not in page
    assert "is starting" in page


@pytest.mark.parametrize(("name", "path"), [("", "al%20ice"), ("two x", "al%20ice/two%20x")])
def test_the_pending_page_leads_back_to_the_form_of_the_same_server(name, path):
    assert f'href="/hub/spawn/{path}"' in pending(name)


def test_why_a_session_ended_is_text_on_the_home_page():
    ended = servers.Server("two", display_name=EVIL, last_end={"why": EVIL})
    page = home(roost_servers=lambda: [servers.card(ended, 0.0)])
    assert "has ended: &#34;&#39;&gt;" in page
    assert "<script>alert" not in page


def home(**values):
    server = SimpleNamespace(active=False)
    return render("home.html", spawners=[], default_server=server, url="/", **values)


def test_how_the_tokens_stand_is_text_on_the_home_page_with_times_for_its_reader():
    page = home(roost_tokens=lambda: Health("danger", (EVIL, 1_795_269_600.0, ".")))
    assert "<script>alert" not in page
    assert 'class="alert alert-danger"' in page
    assert '<time class="roost-time" datetime="2026-11-21T14:00:00Z">' in page


def test_a_grant_of_which_there_is_nothing_to_say_takes_no_room_on_the_home_page():
    assert 'id="roost-tokens"' not in home(roost_tokens=lambda: Health("info"))
    assert 'id="roost-tokens"' not in home()


@pytest.mark.parametrize("name", ["home.html", "spawn.html", "spawn_pending.html"])
def test_what_a_site_announces_is_text_on_the_page(name):
    said = SimpleNamespace(text=EVIL, level="warning")
    server = SimpleNamespace(active=False, name="")
    page = render(
        name,
        roost_announcements=lambda: [said],
        spawners=[],
        default_server=server,
        spawner=server,
        url="/",
        progress_url="/",
    )
    assert 'class="roost-announcement alert alert-warning"' in page
    assert "<script>alert" not in page
