"""What the handlers share of which people, their pages and their programs only read."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers import APIHandler
from jupyterhub.scopes import has_scope
from tornado import web


class Reader(APIHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """Base: changes nothing."""

    def check_xsrf_cookie(self) -> None:
        """Ask for no XSRF token: nothing is changed here, and JupyterLab's page has none.

        Other origins cannot read the answer.  Pages of other users' servers can, if their visitor
        is logged in, where a site has not given each user a domain of their own
        (``JupyterHub.subdomain_host``); it holds no secret.
        """
        if self.request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise web.HTTPError(403, "Only pages of this hub may ask.")

    def _record_activity(self, obj: Any, timestamp: Any = None) -> bool:
        """Note that somebody is active: a program is, and a page that looks by itself is not.

        Each note is a commit to the hub's database, and would be one every 30 s a page.
        """
        page = "Sec-Fetch-Site" in self.request.headers
        return not page and bool(super()._record_activity(obj, timestamp))

    def may(self, *scopes: str) -> bool:
        """Return whether the caller has one of these scopes.

        Raises
        ------
        tornado.web.HTTPError
            401 if nobody is logged in.
        """
        if self.current_user is None:
            raise web.HTTPError(401)
        return any(has_scope(scope, self.parsed_scopes, db=self.db) for scope in scopes)

    def owner(self, user_name: str) -> Any:
        """Return a user by name, or answer that there is none."""
        caller = self.current_user
        known = caller is not None and caller.name == user_name and caller.kind == "user"
        user = caller if known else self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404, "There is no such user.")
        return user
