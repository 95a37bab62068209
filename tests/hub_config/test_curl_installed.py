"""Our own calls are the same where pycurl is installed, and with it tornado's default is curl."""

from __future__ import annotations

import ast
import asyncio
from types import SimpleNamespace

import pytest
from roost_hub import startup
from roost_shepherd.http import HttpClient
from roost_spawner.clusters.slurm.broker.errors import NotReached as BrokerNotReached
from roost_spawner.clusters.slurm.broker.slurmrest import SlurmRest
from roost_spawner.clusters.slurm.client import SlurmBroker
from roost_spawner.errors import NotReached
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from testbed.layout import REPOSITORY

pytestmark = pytest.mark.unit


class CurlError(HTTPClientError):
    """As curl's: no subclass that tells a connection that was never made."""


class Curl(AsyncHTTPClient):
    """What tornado would take by default."""

    def initialize(self, **kwargs):
        super().initialize(defaults=kwargs.pop("defaults", None))

    def fetch_impl(self, request, callback):
        raise CurlError(599, "curl was asked")


@pytest.fixture(autouse=True)
def curl(monkeypatch):
    before = AsyncHTTPClient.configured_class()
    AsyncHTTPClient.configure(Curl)
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    yield
    AsyncHTTPClient.configure(before)


@pytest.fixture
def refusing():
    socket, port = bind_unused_port()
    socket.close()
    return f"http://127.0.0.1:{port}"


class Answers(web.RequestHandler):
    def get(self, path):
        self.write({"jobs": [], "whole": True, "sequence": "1"})

    def post(self, path):
        self.set_status(201)


@pytest.fixture
async def answering():
    socket, port = bind_unused_port()
    server = HTTPServer(web.Application([(r"/(.*)", Answers)]))
    server.add_socket(socket)
    yield f"http://127.0.0.1:{port}"
    server.stop()
    await server.close_all_connections()


def cluster(url):
    async def watch_token():
        return "t"

    return SlurmBroker(
        name="slurm", hub_id="hub", broker=url, audience="a", watch_token=watch_token
    )


async def test_the_default_is_curl_here(answering):
    with pytest.raises(CurlError):
        await AsyncHTTPClient().fetch(answering)


async def test_the_broker_is_asked_without_curl_and_proxy(answering):
    assert await cluster(answering).watch() == {}


async def test_a_broker_that_was_not_reached_is_told_from_one_that_may_have_acted(refusing):
    with pytest.raises(NotReached):
        await cluster(refusing).watch()


async def test_slurmrestd_that_was_not_reached_is_known_as_that(refusing):
    with pytest.raises(BrokerNotReached):
        await SlurmRest(refusing, b"k" * 32).jobs("alice")


async def test_the_provider_is_asked_without_curl_and_proxy(answering):
    http = HttpClient()
    assert (await http.fetch("GET", answering)).status == 200
    await http.close()


async def test_a_start_that_goes_on_after_a_restart_is_asked_without_curl(answering):
    spawner = SimpleNamespace(orm_spawner=SimpleNamespace(user_options={}))
    owner = SimpleNamespace(new_api_token=lambda **_: "t", spawners={"": spawner})
    app = SimpleNamespace(
        users={"alice": owner},
        hub=SimpleNamespace(api_url=answering),
        tornado_application=SimpleNamespace(settings={}),
    )
    async with asyncio.timeout(30):
        assert await startup._start(app, SimpleNamespace(place=("alice", ""))) == 201


def test_nothing_of_ours_takes_tornados_default():
    for package in ("shepherd", "authenticator", "spawner", "hub-config"):
        for path in (REPOSITORY / package).rglob("*.py"):
            named = {
                node.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name)
            }
            assert "AsyncHTTPClient" not in named, path
