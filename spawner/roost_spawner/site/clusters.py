"""What a site file may say of a cluster."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic evaluates the annotations
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from roost_spawner.site.extras import Environment, Prologue  # noqa: TC001 - likewise
from roost_spawner.site.forms import AbsolutePath, Audience, Url, Word  # noqa: TC001 - likewise
from roost_spawner.site.quantities import Model


class _Cluster(Model):
    identity: Literal["user-token"] = "user-token"
    """Jobs are submitted with the user's own access token."""
    python: AbsolutePath = "/usr/bin/python3"
    """What runs the agent and starts ``jupyterhub-singleuser`` on the nodes; a profile may name
    another."""
    prologue: Prologue = ""
    """Shell lines that run in the job before the server; a profile's own take their place."""
    environment: Environment = Field(default_factory=dict)
    """Variables of every session here; a profile adds to them and may change them."""
    ca_file: Path | None = None
    """Where the hub finds the CA of this cluster's services, if the system does not know it."""


class HTCondorCluster(_Cluster):
    """An HTCondor pool with an access point for notebooks."""

    kind: Literal["htcondor"]
    """The batch system."""
    collector: Word
    """Host name of the central manager."""
    schedd: Word
    """Host name of the access point."""
    audience: Audience
    """``SCITOKENS_SERVER_AUDIENCE`` of the access point."""
    watch_token: Path
    """File with an IDTOKEN that may only read, on the hub's host."""


class SlurmCluster(_Cluster):
    """A Slurm cluster behind the broker."""

    kind: Literal["slurm"]
    """The batch system."""
    broker: Url
    """The broker, as the hub reaches it."""
    audience: Audience = ""
    """What the broker asks tokens to be made out to; its URL if left out."""

    @model_validator(mode="before")
    @classmethod
    def _audience_from_url(cls, given: Any) -> Any:
        if isinstance(given, dict) and "audience" not in given and "broker" in given:
            return {**given, "audience": str(given["broker"]).rstrip("/")}
        return given


Cluster = Annotated[HTCondorCluster | SlurmCluster, Field(discriminator="kind")]
