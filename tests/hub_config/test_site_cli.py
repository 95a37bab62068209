"""``roost check`` and ``roost schema``."""

from __future__ import annotations

import json

import pytest
from roost_hub.cli import main
from roost_spawner.clusters.htcondor.channel import Channel

from testbed.layout import REPOSITORY
from tests.support.sites import EVERYTHING, GOOD

pytestmark = pytest.mark.unit

SHIPPED = REPOSITORY / "hub-config/site.yaml"


@pytest.fixture
def check(tmp_path, capsys):
    path = tmp_path / "site.yaml"

    def run(text):
        path.write_text(text)
        status = main(["check", str(path)])
        out, err = capsys.readouterr()
        return status, out, err.replace(str(path), "site.yaml")

    return run


def row(out, name):
    """Return the cells of a profile's row."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_shipped_file_is_good_and_means_what_it_says(check):
    status, out, err = check(SHIPPED.read_text())
    assert (status, err) == (0, "")
    assert "good: 2 clusters, " in out
    assert row(out, "interactive")[1:3] == ["pool, reserved slots", "1 core, 1 GiB, 8h (up to 1d)"]


def test_each_profile_is_a_row_with_what_one_gets_and_where_it_overflows_to(check):
    _, out, _ = check(EVERYTHING)
    assert row(out, "pool") == [
        "pool",
        "naf, ordinary slots",
        "2 cores, 2 GiB, 1d 12h",
        "after 30s: gpu",
        "everybody",
    ]
    assert row(out, "gpu") == [
        "gpu",
        "maxwell, gpu",
        "1 core (or 2), 1536 MiB (up to 8 GiB), 2 a100 GPUs (or 1), 12h (or 1h 30m, 1d 12h)",
        "-",
        "/cms",
    ]


def test_what_the_file_leaves_to_the_hubs_own_settings_is_marked(check):
    _, out, _ = check(GOOD)
    assert row(out, "big")[2] == "1 core*, 1 GiB, 8h"
    assert "c.RoostSpawner.req_* may change it" in out
    assert "*" not in check(EVERYTHING)[1]


def test_all_mistakes_are_listed_with_file_line_and_what_is_allowed(check):
    status, out, err = check(GOOD.replace("gpus: 1", "gpus: one").replace("[gpu]", "[interactive]"))
    assert (status, out) == (1, "")
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["site.yaml, line 30"]
    status, _, err = check(GOOD.replace("[gpu]", "[interactive, gpus]"))
    assert status == 1
    assert "interactive -> big -> interactive" in err
    assert "there is no profile 'gpus'" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("overflow: [gpu]", "patience: 1m", "line 26: profiles.big.patience: patience does noth"),
        (
            "gpus: 1",
            "cpus: 1",
            "line 31: profiles.gpu.gpu_type: gpu_type does nothing without gpus",
        ),
        ("title: One GPU", "title: Big one", "line 28: profiles.gpu.title: profile 'big' has the"),
        ("2026-12-0", "2025-12-0", "line 4: announcements.0: this is over since 2025-12-0"),
        (
            "slot: ordinary",
            "groups: [/cms, cms]",
            "line 25: profiles.big.groups.1: 'cms' and '/cms' are the same group",
        ),
        (
            "slot: ordinary",
            "groups: [/cms, /cms gpu]",
            "line 25: profiles.big.groups.1: '/cms gpu' has a blank, as no group of an IAM has",
        ),
        ("8h}", "8h, groups: [cms]}", ""),
        (
            "slot: ordinary",
            'tokens: {own: {audience: x, scope: "compute.create openid compute.cancel"}}',
            "line 25: profiles.big.tokens.own.scope: with compute.cancel, compute.create whatever",
        ),
        (
            "slot: ordinary",
            'tokens: {own: {audience: "https://notebooks.example.org:9618", scope: openid}}',
            "line 25: profiles.big.tokens.own.audience: this is the audience of cluster ",
        ),
    ],
)
def test_what_is_allowed_and_surely_not_meant_is_said_and_is_no_mistake(check, old, new, said):
    assert old in GOOD
    status, out, err = check(GOOD.replace(old, new))
    assert status == 0
    assert "good" in out
    assert said in err
    assert bool(said) == bool(err)
    assert "Traceback" not in err


def test_a_file_that_is_not_there_is_a_sentence(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_the_schema_is_printed_as_json(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"]


WRONG = """\
    submit_commands:
      rank: Memory +
      +Project: '"atlas'
      requirements: TARGET.HasCvmfs
      request_disk: RequestMemory 2 *
      priority: 5
"""


def test_submit_commands_that_are_no_expressions_are_named_with_their_lines(check):
    site = GOOD.replace("    icon: rocket\n", f"    icon: rocket\n{WRONG}")
    first = site.splitlines().index("    submit_commands:") + 2
    status, _, err = check(site)
    assert status == 1
    lines = err.splitlines()
    place = "profiles.interactive.submit_commands"
    assert [line.partition(" is ")[0] for line in lines] == [
        f"site.yaml, line {first}: {place}.rank: rank",
        f"site.yaml, line {first + 1}: {place}.+Project: +Project",
        f"site.yaml, line {first + 3}: {place}.request_disk: request_disk",
    ]
    assert "'Memory +', which is no ClassAd expression" in lines[0]


def test_submit_commands_that_are_expressions_are_good(check):
    given = r"""{rank: Memory, +Project: '"atlas"', +Path: '"C:\"', requirements: HasCvmfs}"""
    commands = f"    icon: rocket\n    submit_commands: {given}\n"
    status, _, err = check(GOOD.replace("    icon: rocket\n", commands))
    assert (status, err) == (0, "")


def test_where_the_parser_does_not_start_submit_commands_are_not_called_checked(check, monkeypatch):
    monkeypatch.setattr(Channel.__init__, "__defaults__", (("/bin/false",),))
    status, _, err = check(
        GOOD.replace(
            "    icon: rocket\n", "    icon: rocket\n    submit_commands: {rank: Memory}\n"
        )
    )
    assert status == 0
    assert "submit_commands: not checked: HTCondor's parser cannot be started." in err
