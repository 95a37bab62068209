"""What a site file may say of a profile, and of all profiles at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from roost_spawner.clusters.base import SlotClass  # noqa: TC001 - pydantic evaluates these
from roost_spawner.site.extras import Environment, Extras, Prologue  # noqa: TC001 - likewise
from roost_spawner.site.forms import (  # noqa: TC001 - likewise
    AbsolutePath,
    Audience,
    Icon,
    Image,
    Line,
    Name,
    Paragraph,
    Scope,
    Word,
)
from roost_spawner.site.quantities import (
    CoresChoice,
    CountChoice,
    DurationChoice,
    MemoryChoice,
    Model,
    span,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 30
"""Seconds that a profile with ``overflow`` waits if neither it nor the defaults say."""

Patience = Annotated[int, span(5, 86400)]


class TokenWish(Model):
    """An access token that the session gets as a file, kept fresh."""

    audience: Audience
    """The service that takes it."""
    scope: Scope
    """What it is good for, with blanks in between."""


class Defaults(Model):
    """What every profile takes that does not say it itself."""

    cpus: CoresChoice | None = None
    """Cores."""
    memory: MemoryChoice | None = None
    """Memory."""
    walltime: DurationChoice | None = None
    """For how long."""
    workdir: AbsolutePath | None = None
    """Where the server starts."""
    patience: Patience | None = None
    """How long a profile with ``overflow`` waits."""
    groups: tuple[Line, ...] = ()
    """IAM groups; a profile with ``groups: []`` is open to everybody all the same."""


class Profile(Model):
    """One card on the spawn page."""

    title: Line
    """Its name on the page."""
    description: Paragraph = ""
    """A sentence or two below the title."""
    icon: Icon | None = None
    """An icon of Font Awesome's free solid set, which JupyterHub ships, such as ``microchip``."""
    cluster: Name
    """One of ``clusters``."""
    groups: tuple[Line, ...] = ()
    """IAM groups that may use it, with or without the first slash; everybody, if empty."""
    slot: SlotClass | None = None
    """HTCondor: the reserved, overbooked slots (the default), or the ordinary ones.  The access
    point that Roost ships takes notebooks for reserved ones only."""
    cpus: CoresChoice | None = None
    """Cores; ``c.RoostSpawner.req_nprocs``, or 1, if left out."""
    memory: MemoryChoice | None = None
    """Memory; ``req_memory``, or 1 GiB, if left out."""
    gpus: CountChoice | None = None
    """GPUs; ``req_ngpus``, or none, if left out."""
    gpu_type: Word | None = None
    """Slurm: the GRES type of the GPUs; any, if left out.  HTCondor has ``require_gpus`` among the
    ``submit_commands``."""
    walltime: DurationChoice | None = None
    """For how long; ``req_runtime``, or 8h, if left out."""
    partition: Word | None = None
    """Slurm: the partition; ``req_partition``, or the cluster's default one, if left out."""
    account: Word | None = None
    """Slurm: the account that pays; ``req_account``, or the user's default one, if left out."""
    qos: Word | None = None
    """Slurm: the quality of service."""
    constraint: Word | None = None
    """Slurm: features that the node must have."""
    reservation: Word | None = None
    """Slurm: the reservation to run in."""
    overflow: tuple[Name, ...] = ()
    """Profiles that are tried in turn when this one does not start within ``patience``, or its
    cluster is full or does not answer."""
    patience: Patience | None = None
    """How long it may wait in the queue before the next of ``overflow`` is tried; the defaults' or
    30s, if left out."""
    python: AbsolutePath | None = None
    """What starts ``jupyterhub-singleuser``, instead of the cluster's ``python``; a path in the
    image, if there is one, and the first ``python3`` there if left out."""
    image: Image | None = None
    """Apptainer image that the server runs in, by a path on the nodes or by a registry's name."""
    workdir: AbsolutePath | None = None
    """Where the server starts; the user's home if left out."""
    prologue: Prologue | None = None
    """Instead of the cluster's ``prologue``."""
    environment: Environment = Field(default_factory=dict)
    """Variables of the server, added to the cluster's."""
    submit_commands: Extras | None = None
    """HTCondor: submit commands as ``condor_submit`` has them, added to ours."""
    sbatch_options: Extras | None = None
    """Slurm: options as ``sbatch`` has them, by their long names, added to ours."""
    tokens: dict[Name, TokenWish] | None = None
    """Instead of the site's ``tokens``.  The first, or the one named ``default``, is what
    ``$BEARER_TOKEN_FILE`` holds."""
    share_tokens: Literal["owner", "never"] | None = None
    """Instead of the site's ``share_tokens``."""

    @property
    def extras(self) -> Mapping[str, str]:
        """Raw submit commands or options, whichever its cluster takes."""
        return self.submit_commands or self.sbatch_options or {}

    def over(self, defaults: Defaults) -> Profile:
        """Return the profile with what it does not say taken from the defaults.

        An empty list counts as said; a setting that was left empty does not.  Patience is for those
        that have somewhere to go.
        """
        taken = {
            name: value
            for name in Defaults.model_fields
            if (name not in self.model_fields_set or getattr(self, name) is None)
            and (value := getattr(defaults, name))
            and (name != "patience" or self.overflow)
        }
        if self.overflow and self.patience is None:
            taken.setdefault("patience", PATIENCE)
        return self.model_copy(update=taken) if taken else self
