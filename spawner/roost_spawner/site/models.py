"""What a site file may say.

Frozen models that refuse unknown keys.  An optional field of a profile that is left out takes the
spawner's ``req_*`` trait of the same meaning, then the default named here.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - likewise
from pathlib import Path  # noqa: TC003 - pydantic evaluates the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from roost_spawner.clusters.base import SlotClass  # noqa: TC001 - likewise
from roost_spawner.site.extras import Environment, Extras, Prologue, extras_problem
from roost_spawner.site.quantities import (
    CountChoice,
    Duration,
    DurationChoice,
    MemoryChoice,
    Model,
)
from roost_spawner.site.units import parse_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _url(text: str) -> str:
    url = urlsplit(text)
    if not url.hostname or url.query or url.fragment or url.username:
        raise ValueError(f"{text!r} is no URL of a service; write https://host.example.org/")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise ValueError(f"{text!r} is not https: secrets would travel in the clear")
    return text.rstrip("/") + "/"


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is no absolute path")
    return text


Url = Annotated[str, AfterValidator(_url)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
HubId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,39}$")]
# Goes into submit descriptions and job scripts' options: nothing that either would interpret.
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:&|*()\[\]=+-]{0,127}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Audience = Annotated[str, StringConstraints(pattern=r"^\S{1,300}$")]
Scope = Annotated[str, StringConstraints(pattern=r"^\S+( \S+)*$", max_length=500)]
Icon = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)]
# What Apptainer takes: a file, a folder, or a registry's name with its scheme.
Image = Annotated[
    str, StringConstraints(pattern=r"^(/|(docker|oras|library|shub)://)\S+$", max_length=500)
]
AbsolutePath = Annotated[str, AfterValidator(_absolute)]


class TokenWish(Model):
    """An access token that the session gets as a file, kept fresh."""

    audience: Audience
    scope: Scope


class _Cluster(Model):
    identity: Literal["user-token"] = "user-token"
    """Jobs are submitted with the user's own access token."""
    python: AbsolutePath = "/usr/bin/python3"
    """What starts ``jupyterhub-singleuser`` on the nodes; a profile may name another."""
    prologue: Prologue = ""
    """Shell lines that run in the job before the server; a profile's own take their place."""
    environment: Environment = Field(default_factory=dict)
    """Variables of every session here; a profile adds to them and may change them."""
    ca_file: Path | None = None
    """Where the hub finds the CA of this cluster's services, if the system does not know it."""


class HTCondorCluster(_Cluster):
    """An HTCondor pool with an access point for notebooks."""

    kind: Literal["htcondor"]
    collector: Word
    schedd: Word
    audience: Audience
    """``SCITOKENS_SERVER_AUDIENCE`` of the access point."""
    watch_token: Path
    """IDTOKEN that may only read."""


class SlurmCluster(_Cluster):
    """A Slurm cluster behind the broker."""

    kind: Literal["slurm"]
    broker: Url
    audience: Audience = ""
    """What the broker asks tokens to be made out to; its URL if left out."""

    @model_validator(mode="before")
    @classmethod
    def _audience_from_url(cls, given: Any) -> Any:
        if isinstance(given, dict) and "audience" not in given and "broker" in given:
            return {**given, "audience": str(given["broker"]).rstrip("/")}
        return given


Cluster = Annotated[HTCondorCluster | SlurmCluster, Field(discriminator="kind")]

_FOR_KIND = {
    "htcondor": ("slot", "submit_commands"),
    "slurm": ("partition", "account", "qos", "constraint", "reservation", "sbatch_options"),
}


class Profile(Model):
    """One card on the spawn page."""

    title: Line
    description: Annotated[str, StringConstraints(max_length=1000, strip_whitespace=True)] = ""
    cluster: Name
    icon: Icon | None = None
    """An icon of Font Awesome's free solid set, which JupyterHub ships, such as ``microchip``."""
    overflow: tuple[Name, ...] = ()
    """Profiles that are tried in turn when this one does not start within ``patience``, or its
    cluster is full or does not answer."""
    patience: Annotated[Duration, Field(ge=5, le=86400)] | None = None
    """How long it may wait in the queue before the next of ``overflow`` is tried."""
    image: Image | None = None
    """Apptainer image that the server runs in."""
    slot: SlotClass | None = None
    cpus: CountChoice | None = None
    memory: MemoryChoice | None = None
    gpus: CountChoice | None = None
    gpu_type: Word | None = None
    walltime: DurationChoice | None = None
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    reservation: Word | None = None
    python: AbsolutePath | None = None
    workdir: AbsolutePath | None = None
    """Where the server starts; the user's home if left out."""
    submit_commands: Extras | None = None
    """HTCondor: submit commands as ``condor_submit`` has them, added to ours."""
    sbatch_options: Extras | None = None
    """Slurm: options as ``sbatch`` has them, by their long names, added to ours."""
    prologue: Prologue | None = None
    """Instead of the cluster's ``prologue``."""
    environment: Environment = Field(default_factory=dict)
    groups: tuple[Line, ...] = ()
    """IAM groups that may use it; everybody, if empty."""
    tokens: dict[Name, TokenWish] | None = None
    """Instead of the site's ``tokens``.  The first, or the one named ``default``, is what
    ``$BEARER_TOKEN_FILE`` holds."""
    share_tokens: Literal["owner", "never"] | None = None
    """Instead of the site's ``share_tokens``."""

    @property
    def extras(self) -> Mapping[str, str]:
        """Raw submit commands or options, whichever its cluster takes."""
        return self.submit_commands or self.sbatch_options or {}


class Announcement(Model):
    """A sentence on the pages, for a time."""

    text: Line
    level: Literal["info", "warning"] = "info"
    starts: datetime | None = None
    ends: datetime | None = None


class Defaults(Model):
    """What every profile takes that does not say it itself."""

    cpus: CountChoice | None = None
    memory: MemoryChoice | None = None
    walltime: DurationChoice | None = None
    workdir: AbsolutePath | None = None
    patience: Annotated[Duration, Field(ge=5, le=86400)] | None = None
    groups: tuple[Line, ...] = ()


class Watch(Model):
    """How often each cluster is asked for the hub's jobs: one query, however many there are."""

    moving: Annotated[Duration, Field(ge=1, le=60)] = 2
    """While something starts or stops."""
    steady: Annotated[Duration, Field(ge=1, le=600)] = 15
    """Otherwise."""
    capacity: Annotated[Duration, Field(ge=2, le=600)] = 10
    """How old the capacity on a page may be; asked for only while somebody looks."""


class Site(Model):
    """A whole site file."""

    hub_id: HubId
    hub_url: Url
    """The hub as the nodes reach it."""
    ports: tuple[int, int] | None = None
    """Ports on the nodes, first and last; any free one, if left out."""
    tokens: dict[Name, TokenWish] = Field(default_factory=dict)
    share_tokens: Literal["owner", "never"] = "owner"
    """Whether a session's owner may allow that those with whom they share it use its tokens."""
    watch: Watch = Watch()
    announcements: tuple[Announcement, ...] = ()
    """Shown on the pages of everybody."""
    defaults: Defaults = Defaults()
    clusters: Annotated[dict[Name, Cluster], Field(min_length=1)]
    profiles: Annotated[dict[Name, Profile], Field(min_length=1)]

    @field_validator("ports", mode="before")
    @classmethod
    def _ports(cls, given: Any) -> Any:
        return None if given is None else parse_ports(given)

    def problems(self) -> list[tuple[tuple[str, ...], str]]:
        """Return what does not fit together, each with the place in the file.

        Apart from validation, so that every such mistake is named with its own line.
        """
        found: list[tuple[tuple[str, ...], str]] = []
        for name, profile in self.profiles.items():
            cluster = self.clusters.get(profile.cluster)
            if cluster is None:
                known = ", ".join(self.clusters)
                found.append(
                    (
                        ("profiles", name, "cluster"),
                        f"there is no cluster {profile.cluster!r}; there are: {known}",
                    )
                )
                continue
            found.extend(
                (
                    ("profiles", name, field),
                    (
                        f"{field} means something on {kind} only, and cluster "
                        f"{profile.cluster!r} is of kind {cluster.kind}"
                    ),
                )
                for kind, fields in _FOR_KIND.items()
                for field in fields
                if kind != cluster.kind and getattr(profile, field) is not None
            )
            field = "submit_commands" if cluster.kind == "htcondor" else "sbatch_options"
            extras: dict[str, str] = getattr(profile, field) or {}
            wrong: list[tuple[tuple[str, ...], str]] = [
                (("profiles", name, field, key), said)
                for key, value in extras.items()
                if (said := extras_problem(cluster.kind, {key: value}))
            ]
            if not wrong and (said := extras_problem(cluster.kind, extras)):
                wrong = [(("profiles", name, field), said)]
            found.extend(wrong)
        return found

    def prologue_of(self, profile: Profile) -> str:
        """Return the shell lines that run before the server: the profile's or its cluster's."""
        if profile.prologue is not None:
            return profile.prologue
        return self.clusters[profile.cluster].prologue

    def may_share_tokens(self, profile: Profile) -> bool:
        """Tell whether a session's owner may let others use its tokens."""
        return (profile.share_tokens or self.share_tokens) == "owner"

    def environment_of(self, profile: Profile) -> dict[str, str]:
        """Return the variables that cluster and profile add to the server's."""
        return {**self.clusters[profile.cluster].environment, **profile.environment}

    def audiences(self) -> frozenset[str]:
        """Return every audience that a user's grant must be good for."""
        wishes = [*self.tokens.values()]
        for profile in self.profiles.values():
            wishes += (profile.tokens or {}).values()
        clusters = (cluster.audience for cluster in self.clusters.values())
        return frozenset(clusters) | {wish.audience for wish in wishes}

    def scopes(self) -> frozenset[str]:
        """Return every scope that the sessions' own tokens ask for."""
        wishes = [*self.tokens.values()]
        for profile in self.profiles.values():
            wishes += (profile.tokens or {}).values()
        return frozenset(scope for wish in wishes for scope in wish.scope.split())
