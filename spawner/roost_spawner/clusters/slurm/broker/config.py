"""The broker's configuration: one TOML file, read once, refused with a sentence if it is wrong."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from roost_shepherd.errors import BadSetting
from roost_shepherd.http import require_proxy
from roost_shepherd.keys import same_issuer

from roost_spawner.clusters.slurm.broker.errors import ConfigError
from roost_spawner.clusters.slurm.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MIN_KEY_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watcher:
    """An identity that may read the jobs of some hubs, and nothing else.

    Attributes
    ----------
    subject
        The token's subject; the client id, for a token by client credentials.
    hubs
        Which hubs' jobs, by their ``hub_id``.
    issuer
        The token's issuer; the broker's own one if empty.
    """

    subject: str
    hubs: tuple[str, ...]
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one session may ask for, and the closed lists to choose from.

    These hold whatever a hub's profiles say.  An empty list allows no value at all: the field must
    then be left out.
    """

    partitions: tuple[str, ...]
    minutes: int
    cpus: int
    memory_mib: int
    gpus: int = 0
    gpu_types: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Further options of ``sbatch``, out of those that the broker knows."""
    sessions: int = 20
    """Jobs that one account may have at a time; 0 for any number."""


@dataclass(frozen=True, slots=True)
class Slurm:
    """How slurmrestd is reached.

    Attributes
    ----------
    jwt_key
        File with the key of ``AuthAltParameters=jwt_key=`` (Slurm's jwt page).
    reader
        Unprivileged account that the watchers' queries are made as.
    url
        slurmrestd speaks plain HTTP: the loopback only.
    node_domain
        Appended to Slurm's node names that have no dot, so that the hub can reach them.
    """

    jwt_key: Path
    reader: str
    url: str = "http://127.0.0.1:6820"
    node_domain: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """All that the broker is told."""

    issuer: str
    audience: str
    map_file: Path
    tls_certificate: Path
    tls_key: Path
    slurm: Slurm
    limits: Limits
    watchers: tuple[Watcher, ...] = ()
    listen: str = ""
    """Address to listen on; all of them if empty."""
    port: int = 8443
    minimum_uid: int = 1000
    """Accounts below are the system's (``UID_MIN`` of login.defs(5)) and never acted for."""
    ca_file: Path | None = None
    http_proxy: str = field(default="", repr=False)
    """URL of the HTTP proxy through which the issuer is asked for its keys; directly if empty."""
    jwt_key: bytes = field(default=b"", repr=False)
    """What is in ``slurm.jwt_key``; never from the file itself."""

    def watcher(self, issuer: str, subject: str) -> Watcher | None:
        """Return the watcher with this identity, if it is one."""
        for watcher in self.watchers:
            wanted = watcher.issuer or self.issuer
            if watcher.subject == subject and same_issuer(wanted, issuer):
                return watcher
        return None


def load(path: Path) -> Config:
    """Read the configuration and the key that it names.

    Raises
    ------
    ConfigError
        If anything in it is missing, unknown or of the wrong kind, or the key cannot be read.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML: {error}.") from None
    return parse(document, key=_read_key)


def parse(document: Mapping[str, Any], *, key: Any = None) -> Config:
    """Turn a parsed file into a :class:`Config`.

    Parameters
    ----------
    document
        What the TOML file says.
    key
        Called with the path of Slurm's key and returns it; without, the key stays empty.

    Raises
    ------
    ConfigError
        With a sentence that names the setting.
    """
    parts = dict(document)
    slurm = _table(Slurm, parts.pop("slurm", None), "[slurm]")
    limits = _table(Limits, parts.pop("limits", None), "[limits]")
    given = parts.pop("watchers", [])
    if not isinstance(given, list):
        raise ConfigError("watchers must be tables: write [[watchers]].")
    watchers = tuple(_table(Watcher, item, "[[watchers]]") for item in given)
    if "jwt_key" in parts:
        raise ConfigError("jwt_key belongs into [slurm], and is the path of a file.")
    config = _table(
        Config, {**parts, "slurm": slurm, "limits": limits, "watchers": watchers}, "the file"
    )
    _check(config)
    if key is None:
        return config
    values = {item.name: getattr(config, item.name) for item in fields(Config)}
    return Config(**{**values, "jwt_key": key(slurm.jwt_key)})


def _check(config: Config) -> None:
    for name in ("issuer", "audience"):
        if urlsplit(getattr(config, name)).scheme != "https":
            raise ConfigError(f"{name} must be an https:// URL; it is {getattr(config, name)!r}.")
    try:
        require_proxy(config.http_proxy, "http_proxy")
    except BadSetting as error:
        raise ConfigError(error.sentence) from None
    url = urlsplit(config.slurm.url)
    if url.scheme != "http" or url.hostname not in _LOOPBACK:
        raise ConfigError(
            f"[slurm] url must be http:// on the loopback, as slurmrestd has no TLS; "
            f"it is {config.slurm.url!r}."
        )
    if not config.limits.partitions:
        raise ConfigError("[limits] partitions must name at least one partition.")
    unknown = [name for name in config.limits.options if name not in OPTIONS]
    if unknown:
        raise ConfigError(
            f"[limits] options has {', '.join(unknown)}; the broker knows {', '.join(OPTIONS)}."
        )
    if not config.slurm.reader or config.slurm.reader == "root":
        raise ConfigError("[slurm] reader must be an unprivileged account.")


def _read_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"Slurm's key {path} is open to others: chmod o= {path}.")
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Slurm's key {path} cannot be read: {error.strerror}.") from None
    if len(key) < _MIN_KEY_BYTES:
        raise ConfigError(f"Slurm's key {path} is shorter than {_MIN_KEY_BYTES} bytes.")
    return key


_KINDS: Mapping[str, tuple[type, str]] = {
    "str": (str, "a text"),
    "int": (int, "a whole number, zero or more"),
    "Path": (str, "an absolute path"),
    "Path | None": (str, "an absolute path"),
    "tuple[str, ...]": (list, "a list of texts"),
}


def _table(kind: type[T], given: object, where: str) -> T:
    """Build one dataclass from one TOML table, with nothing unknown and nothing missing."""
    if not isinstance(given, dict):
        raise ConfigError(f"{where} is missing or is no table.")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise ConfigError(f"{where} has no setting {name!r}; it has {', '.join(known)}.")
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in given:
            values[name] = _value(given[name], str(item.type), f"{name} in {where}")
        elif item.default is MISSING:
            raise ConfigError(f"{where} does not set {name}.")
    return kind(**values)


def _value(given: Any, kind: str, where: str) -> Any:
    if kind not in _KINDS:
        return given
    wanted, words = _KINDS[kind]
    good = isinstance(given, wanted) and not isinstance(given, bool)
    if good and wanted is list:
        good = all(isinstance(item, str) and item for item in given)
    if good and wanted is int:
        good = given >= 0
    if good and kind.startswith("Path"):
        good = Path(given).is_absolute()
    if not good:
        raise ConfigError(f"{where} must be {words}; it is {given!r}.")
    if wanted is list:
        return tuple(given)
    return Path(given) if kind.startswith("Path") else given
