"""The broker's file: the shipped example is good, and each mistake has its sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from roost_spawner.clusters.slurm.broker import config
from roost_spawner.clusters.slurm.broker.app import main
from roost_spawner.clusters.slurm.broker.errors import ConfigError

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "hub-config/slurm/broker.toml"


def example():
    return tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))


def test_the_example_that_sites_copy_is_understood():
    read = config.parse(example())
    assert read.limits.partitions == ("gpu", "cpu")
    assert read.watcher("https://iam.example.org/", "roost-hub") is not None
    assert read.watcher("https://iam.example.org", "someone") is None
    assert read.watcher("https://other.example.org", "roost-hub") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://iam.example.org"}, "issuer must be an https:// URL"),
        ({"audience": None}, "does not set audience"),
        ({"isuer": "x"}, "no setting 'isuer'"),
        ({"http_proxy": "proxy:3128"}, "http_proxy must be the URL of an HTTP proxy"),
        ({"port": "8443"}, "port in the file must be a whole number"),
        ({"port": True}, "port in the file must be a whole number"),
        ({"map_file": "mapfile"}, "map_file in the file must be an absolute path"),
        ({"limits": None}, "[limits] is missing"),
        ({"limits": {"partitions": "gpu"}}, "partitions in [limits] must be a list of texts"),
        ({"watchers": {}}, "write [[watchers]]"),
        ({"watchers": [{"subject": "x"}]}, "[[watchers]] does not set hubs"),
        ({"jwt_key": "secret"}, "belongs into [slurm]"),
    ],
)
def test_a_mistake_is_named(change, words):
    document = {k: v for k, v in (example() | change).items() if v is not None}
    with pytest.raises(ConfigError) as caught:
        config.parse(document)
    assert words in str(caught.value)


@pytest.mark.parametrize("url", ["http://10.0.0.1:6820", "https://127.0.0.1", "http://x"])
def test_slurmrestd_is_only_asked_on_the_loopback(url):
    document = example()
    document["slurm"]["url"] = url
    with pytest.raises(ConfigError, match="loopback"):
        config.parse(document)


def test_a_short_key_is_refused_and_a_good_one_does_not_show(tmp_path):
    key = tmp_path / "key"
    text = EXAMPLE.read_text(encoding="utf-8").replace("/etc/slurm/jwt_hs256.key", str(key))
    file = tmp_path / "broker.toml"
    file.write_text(text, encoding="utf-8")
    key.write_bytes(b"x" * 31)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others: chmod o="):
        config.load(file)
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="shorter than 32"):
        config.load(file)
    key.write_bytes(b"SECRETSECRETSECRETSECRETSECRET12")
    read = config.load(file)
    assert read.jwt_key.startswith(b"SECRET")
    assert "SECRET" not in repr(read)


def test_the_program_says_in_a_sentence_why_it_does_not_start(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "nothing.toml")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err
