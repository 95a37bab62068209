"""Routes that JupyterHub itself does not keep."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from roost_hub.proxy_routes import RouteKeeper

pytestmark = pytest.mark.unit


UP, DOWN = True, False


class Proxy:
    """JupyterHub's proxy, by what is asked of it."""

    should_start = False

    def __init__(self):
        self.routes = {"/": {}}
        self.restored = 0

    async def get_all_routes(self):
        return {spec: route for spec, route in self.routes.items() if "hub" not in route}

    async def restore_routes(self):
        self.restored += 1
        self.routes = {"/": {}}

    def _routespec_to_chp_path(self, spec):
        return spec.rstrip("/") or "/"

    async def api_request(self, path, method, body):
        assert method == "POST"
        self.routes[path + "/"] = {"hub": body["target"]}

    async def delete_route(self, spec):
        del self.routes[spec]


def server(*, ready=False, active=False):
    return SimpleNamespace(ready=ready, active=active or ready)


def hub(default, stopped=("two x",), **running):
    user = SimpleNamespace(
        id=7, proxy_spec="/user/alice/", spawners={"": server(ready=default), **running}
    )
    return SimpleNamespace(
        proxy=Proxy(),
        hub=SimpleNamespace(routespec="/", host="https://127.0.0.1:8081"),
        users={7: user},
        # Of one that nobody has seen since the hub began, too.
        db=[(7, name) for name in stopped] + [(8, "two x")],
    )


def keeper_of(app):
    return RouteKeeper(app, list)


async def test_a_stopped_server_is_looked_for_at_the_hub_not_in_another_server():
    app = hub(UP, three=server(ready=True))
    keeper = keeper_of(app)
    await keeper.look()
    assert app.proxy.routes == {"/": {}, "/user/alice/two%20x/": {"hub": app.hub.host}}


async def test_without_another_server_in_the_way_no_route_is_needed():
    app = hub(DOWN)
    await keeper_of(app).look()
    assert app.proxy.routes == {"/": {}}


async def test_the_route_goes_with_the_server_that_is_deleted_and_stays_with_one_that_starts():
    app = hub(UP, stopped=("two", "three"))
    keeper, user = keeper_of(app), app.users[7]
    await keeper.look()
    app.db.remove((7, "two"))
    user.spawners["three"] = server(active=True)
    app.proxy.routes["/user/alice/three/"] = {"user": "alice"}  # as JupyterHub tells it
    await keeper.look()
    assert app.proxy.routes == {"/": {}, "/user/alice/three/": {"user": "alice"}}


async def test_a_proxy_that_has_forgotten_everything_is_told_all_of_it():
    app = hub(UP)
    keeper = keeper_of(app)
    await keeper.look()
    app.proxy.routes = {}
    await keeper.look()
    assert app.proxy.restored == 1
    assert "/user/alice/two%20x/" in app.proxy.routes
    await keeper.look()
    assert app.proxy.restored == 1
