"""What a site file may say: the whole of it.

Frozen models that refuse unknown keys.  An optional field of a profile that is left out takes the
file's ``defaults``, then the spawner's ``req_*`` trait of the same meaning, then the default named
here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from roost_spawner.site.announcements import Announcement
from roost_spawner.site.clusters import Cluster, HTCondorCluster, SlurmCluster
from roost_spawner.site.forms import HubId, Name, Url  # noqa: TC001 - pydantic evaluates these
from roost_spawner.site.profiles import Defaults, Profile, TokenWish
from roost_spawner.site.quantities import Model, span
from roost_spawner.site.units import PORTS_PATTERN, parse_ports

__all__ = [
    "Announcement",
    "Cluster",
    "Defaults",
    "HTCondorCluster",
    "Profile",
    "Site",
    "SlurmCluster",
    "TokenWish",
    "Watch",
]


def _ports(given: Any) -> Any:
    return given if isinstance(given, tuple) else parse_ports(given)


Ports = Annotated[
    tuple[int, int],
    BeforeValidator(_ports),
    WithJsonSchema({"type": "string", "pattern": PORTS_PATTERN}),
]


class Watch(Model):
    """How often each cluster is asked for the hub's jobs: one query, however many there are."""

    model_config = ConfigDict(validate_default=True)

    moving: Annotated[int, span(1, 60)] = "2s"  # type: ignore[assignment]  # the model parses it
    """While something starts or stops."""
    steady: Annotated[int, span(1, 600)] = "15s"  # type: ignore[assignment]  # likewise
    """Otherwise."""
    capacity: Annotated[int, span(2, 600)] = "10s"  # type: ignore[assignment]  # likewise
    """How old the capacity on a page may be; asked for only while somebody looks."""


class Site(Model):
    """A whole site file."""

    hub_id: HubId
    """In every job's session mark; stable for the life of the hub."""
    hub_url: Url
    """The hub as the nodes reach it."""
    ports: Ports | None = None
    """Ports on the nodes, first and last, such as ``40000-49999``; any free one, if left out."""
    tokens: dict[Name, TokenWish] = Field(default_factory=dict)
    """Access tokens that each session gets as files, kept fresh, by the file's name."""
    share_tokens: Literal["owner", "never"] = "owner"
    """Whether a session's owner may allow that those with whom they share it use its tokens."""
    watch: Watch = Field(default_factory=Watch)
    """How often each cluster is asked for the hub's jobs."""
    announcements: tuple[Announcement, ...] = ()
    """Shown on the pages of everybody."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What every profile takes that does not say it itself."""
    clusters: Annotated[dict[Name, Cluster], Field(min_length=1)]
    """The batch systems, by a name of your own that people see."""
    profiles: Annotated[dict[Name, Profile], Field(min_length=1)]
    """What people choose from, by a name of your own: it is in links and in the API."""

    @field_validator("profiles")
    @classmethod
    def _over_defaults(
        cls, profiles: dict[str, Profile], info: ValidationInfo
    ) -> dict[str, Profile]:
        # Absent if they are wrong: that is one mistake, said at their own line.
        defaults = info.data.get("defaults", Defaults())
        return {name: profile.over(defaults) for name, profile in profiles.items()}

    def prologue_of(self, profile: Profile) -> str:
        """Return the shell lines that run before the server: the profile's or its cluster's."""
        if profile.prologue is not None:
            return profile.prologue
        return self.clusters[profile.cluster].prologue

    def python_of(self, profile: Profile) -> str:
        """Return what starts the profile's server."""
        if profile.python is not None:
            return profile.python
        return "python3" if profile.image else self.clusters[profile.cluster].python

    def may_share_tokens(self, profile: Profile) -> bool:
        """Tell whether a session's owner may let others use its tokens."""
        return (profile.share_tokens or self.share_tokens) == "owner"

    def environment_of(self, profile: Profile) -> dict[str, str]:
        """Return the variables that cluster and profile add to the server's."""
        return {**self.clusters[profile.cluster].environment, **profile.environment}

    def audiences(self) -> frozenset[str]:
        """Return every audience that a user's grant must be good for."""
        clusters = (cluster.audience for cluster in self.clusters.values())
        return frozenset(clusters) | {wish.audience for wish in self._wishes()}

    def scopes(self) -> frozenset[str]:
        """Return every scope that the sessions' own tokens ask for."""
        return frozenset(scope for wish in self._wishes() for scope in wish.scope.split())

    def _wishes(self) -> list[TokenWish]:
        wishes = [*self.tokens.values()]
        for profile in self.profiles.values():
            wishes += (profile.tokens or {}).values()
        return wishes
