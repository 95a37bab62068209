"""The provider double with a login, a userinfo endpoint and INDIGO IAM's quirks.

It logs in whoever ``person`` is, without asking.  Claims are shaped as IAM 1.12 shapes them for a
client of one token profile; a refresh may end the access tokens before it; an acceptable use
policy that is not signed and a suspended account are refused in IAM's way.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.support.provider_double import (
    ProviderDouble,
    _Base,
    _Discovery,
    _Keys,
    _Revoke,
    _Token,
    b64,
)

NAMESPACE = "urn:geant:iam.roost.test"


@dataclass
class Member:
    """Somebody with an account at the double; groups without a slash, as IAM has them."""

    name: str
    subject: str
    groups: list[str] = field(default_factory=lambda: ["cms", "cms/gpu"])
    more: dict[str, Any] = field(default_factory=dict)
    unsigned: bool = False
    suspended: bool = False


class IamDouble(ProviderDouble):
    """Start it with ``await start()``; change its attributes to make it misbehave."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = "wlcg"
        self.person = Member("alice", "1111-alice")
        self.people = {self.person.subject: self.person}
        self.clear_on_refresh = False  # IAM's clear_access_tokens_on_refresh
        self.id_token_claims: dict[str, Any] = {}  # over what it would say
        self.refuses_login: tuple[str, str] | None = None  # error, error_description
        self.userinfo_status = 200
        self.userinfo_asked = 0
        self.codes: dict[str, dict[str, str]] = {}
        self.bearers: dict[str, tuple[str, str]] = {}  # subject and scopes by access token

    def handlers(self):
        return [
            (r"/\.well-known/openid-configuration", _IamDiscovery),
            (r"/jwk", _Keys),
            (r"/authorize", _Authorize),
            (r"/token", _IamToken),
            (r"/userinfo", _Userinfo),
            (r"/revoke", _Revoke),
        ]

    def become(self, person: Member) -> Member:
        """Let this one be who logs in next."""
        self.person = self.people[person.subject] = person
        return person

    def about(self, subject: str) -> dict[str, Any]:
        """Return the claims of id_token and userinfo, by the profile."""
        person = self.people[subject]
        common = {
            "sub": subject,
            "preferred_username": person.name,
            "name": person.name.title(),
            "email": f"{person.name}@roost.test",
        } | person.more
        match self.profile:
            case "wlcg":
                told = {"wlcg.ver": "1.0", "wlcg.groups": [f"/{g}" for g in person.groups]}
            case "iam":
                told = {"groups": person.groups, "organisation_name": "roost"}
            case "kc":
                told = {"roles": person.groups}
            case _:
                urns = [f"{NAMESPACE}:group:{g.replace('/', ':')}" for g in person.groups]
                told = {"eduperson_entitlement": [f"{urn}#iam.roost.test" for urn in urns]}
        return common | told

    def answer(self, subject: str, form: dict[str, str]) -> dict[str, Any]:
        if self.clear_on_refresh:
            self.bearers = {t: kept for t, kept in self.bearers.items() if kept[0] != subject}
        body = super().answer(subject, {"scope": "openid"} | form)
        self.bearers[body["access_token"]] = (subject, body["scope"])
        return body

    def barred(self, subject: str) -> dict[str, str] | None:
        """Return IAM's answer for those who must do something first."""
        person = self.people.get(subject)
        if person is not None and person.unsigned:
            text = (
                f"User {person.name} needs to sign AUP for this organization in order to proceed."
            )
            return {"error": "invalid_grant", "error_description": text}
        if person is not None and person.suspended:
            return {
                "error": "invalid_grant",
                "error_description": f"User {person.name} is disabled",
            }
        return None

    def refresh(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        for grant in self.grants:
            if grant.refresh_token == form["refresh_token"] and (no := self.barred(grant.subject)):
                self.refreshes.append(form)
                return 400, no
        return super().refresh(form)

    def code(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Exchange a code (RFC 6749, section 4.1.3; RFC 7636, section 4.6)."""
        asked = self.codes.pop(form["code"], None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        subject = asked["subject"]
        if no := self.barred(subject):
            return 400, no
        body = self.answer(subject, {"scope": asked["scope"]})
        body["refresh_token"] = self.login(subject).refresh_token
        now = time.time()
        body["id_token"] = self.keys[0].token(
            self.about(subject)
            | {
                "iss": self.issuer,
                "aud": self.client_id,
                "iat": int(now),
                "exp": int(now) + 600,
                "nonce": asked["nonce"],
            }
            | self.id_token_claims
        )
        self.issued.append(body["id_token"])
        return 200, body


class _IamDiscovery(_Discovery):
    def get(self) -> None:
        super().get()
        base = self.double.issuer
        found = b"".join(self._write_buffer)[:-1]
        self._write_buffer = [found + f', "userinfo_endpoint": "{base}userinfo"}}'.encode()]


class _IamBase(_Base):
    double: IamDouble


class _Authorize(_IamBase):
    def get(self) -> None:
        double = self.double
        given = {name: self.get_argument(name) for name in self.request.arguments}
        if double.refuses_login is not None:
            error, text = double.refuses_login
            back = {"error": error, "error_description": text}
        else:
            code = secrets.token_urlsafe(16)
            double.codes[code] = given | {"subject": double.person.subject}
            back = {"code": code}
        query = urlencode(back | {"state": given["state"]})
        self.redirect(f"{given['redirect_uri']}?{query}")


class _IamToken(_Token):
    double: IamDouble  # type: ignore[assignment]

    async def _post(self) -> None:
        form = self.form()
        if form["grant_type"] != "authorization_code":
            await super()._post()
            return
        if not self.double.known_client(self.request.headers.get("Authorization", "")):
            self.set_status(401)
            self.write({"error": "invalid_client"})
            return
        status, body = self.double.code(form)
        self.set_status(status)
        self.write(body)


class _Userinfo(_IamBase):
    def get(self) -> None:
        double = self.double
        double.userinfo_asked += 1
        bearer = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        found = double.bearers.get(bearer)
        if double.userinfo_status != 200 or found is None or "openid" not in found[1].split():
            self.set_status(double.userinfo_status if found else 401)
            self.write({"error": "invalid_token", "error_description": f"Invalid: {bearer}"})
            return
        self.write(double.about(found[0]))
