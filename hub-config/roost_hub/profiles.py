"""What a user may start, and how it stands: for the spawn page while it is open, and programs.

::

    GET  {hub}/api/roost/v1/profiles           the caller's own
    GET  {hub}/api/roost/v1/profiles/{user}    another user's

Allowed to whoever may start the user's servers (JupyterHub's scope ``servers``).  Never waits for a
cluster.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from roost_spawner.choice import offered
from roost_spawner.errors import RoostError
from roost_spawner.offers import version
from roost_spawner.spawner import RoostSpawner
from tornado import web

from roost_hub.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roost_spawner.offers import Offer
    from roost_spawner.site.quantities import Quantity


class ProfilesHandler(Reader):
    """The profiles of a user."""

    async def get(self, user_name: str | None = None) -> None:
        """Answer with what is known; tornado makes it a 304 for whoever knows it already."""
        name = user_name or str(getattr(self.current_user, "name", ""))
        if not self.may(f"servers!user={name}"):
            raise web.HTTPError(403, "Your token may not start servers.")
        spawner = self.owner(name).spawner
        if not isinstance(spawner, RoostSpawner):
            raise web.HTTPError(404, "This hub has no profiles.")
        try:
            found = await offered(spawner)
        except RoostError as error:
            raise web.HTTPError(503, error.sentence) from None
        self.set_header("Cache-Control", "private, no-cache")
        self.write(json.dumps(to_json(found)))


def to_json(offers: Sequence[Offer]) -> dict[str, Any]:
    """Return what programs are told: memory in MiB, times in seconds."""
    return {"version": version(offers), "profiles": [_profile(offer) for offer in offers]}


def _profile(offer: Offer) -> dict[str, Any]:
    outlook = offer.outlook
    return {
        "name": offer.name,
        "title": offer.profile.title,
        "description": offer.profile.description,
        "cluster": offer.profile.cluster,
        "overflow": [other.name for other in offer.overflow],
        "choices": {field: _choice(choice) for field, choice in offer.choices.items()},
        "closed": offer.closed,
        "outlook": {
            "starts": str(outlook.starts),
            "words": outlook.words,
            "free": outlook.free,
            "why": outlook.why,
            "as_of": outlook.as_of or None,
        },
    }


def _choice(choice: Quantity) -> dict[str, Any]:
    found = {"default": choice.default, "max": choice.limit, "choices": choice.choices}
    return found | {"fixed": choice.fixed}


HANDLERS = [
    (r"/api/roost/v1/profiles", ProfilesHandler),
    (r"/api/roost/v1/profiles/([^/]+)", ProfilesHandler),
]
