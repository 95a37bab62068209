from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from roost_spawner.errors import SiteError
from roost_spawner.site import units
from roost_spawner.site.loader import load_site, parse_site

pytestmark = pytest.mark.unit

GOOD = """\
hub_id: desy-naf
hub_url: https://hub.example.org/
ports: 40000-49999
tokens:
  default: {audience: "https://dcache.example.org", scope: "storage.read:/"}
clusters:
  naf:
    kind: htcondor
    collector: cm.example.org
    schedd: notebooks.example.org
    watch_token: /etc/roost/naf-read.token
    audience: https://notebooks.example.org:9618
  maxwell:
    kind: slurm
    broker: https://broker.maxwell.example.org/
profiles:
  interactive:
    title: Interactive notebook
    cluster: naf
    slot: reserved
    cpus: 1
    memory: 2 GiB
    walltime: {default: 12h, max: 24h}
  gpu:
    title: One GPU
    cluster: maxwell
    partition: gpu
    gpus: {choices: [1, 2], default: 1}
    walltime: 1-12:00
    groups: [/cms/gpu]
"""

DEFAULTS = """\
defaults:
  cpus: 2
  memory: {default: 3 GiB, max: 8 GiB}
  patience: 1m
  workdir: /scratch
  groups: [/cms]
"""


@pytest.fixture
def parse(tmp_path):
    return lambda text: parse_site(text, tmp_path / "site.yaml")


@pytest.mark.parametrize(
    ("text", "mib"),
    [("2 GiB", 2048), ("512MiB", 512), ("1.5 GB", 1536), ("1 TiB", 1 << 20), ("100 KiB", 1)],
)
def test_memory_is_read_as_people_write_it(text, mib):
    assert units.parse_memory(text) == mib


@pytest.mark.parametrize("given", ["2", "", "-1 GiB", "2 GiBs", 2048, None, "0 MiB", "2 bytes"])
def test_memory_without_a_unit_or_sense_is_refused(given):
    with pytest.raises(ValueError, match="2 GiB"):
        units.parse_memory(given)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("90m", 5400),
        ("12h", 43200),
        ("1d 12h", 129600),
        ("1 day 12 Hours", 129600),
        ("90 min", 5400),
        ("2 hrs 30 minutes", 9000),
        ("45 sec", 45),
        ("1-12:00", 129600),
        ("1-12", 129600),
        ("12:30:00", 45000),
    ],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("given", ["12", "", "12:30", "1w", "2 month", "5 ms", 90, "0s", "-5m"])
def test_ambiguous_durations_are_refused(given):
    with pytest.raises(ValueError, match="90m"):
        units.parse_duration(given)


@pytest.mark.parametrize("seconds", [1, 59, 3600, 90061, 129600])
def test_durations_survive_being_shown(seconds):
    assert units.parse_duration(units.show_duration(seconds)) == seconds


@pytest.mark.parametrize("given", ["80-90", "50000-40000", "40000", 40000, "1024-70000"])
def test_port_ranges_without_sense_are_refused(given):
    with pytest.raises(ValueError, match="40000-49999"):
        units.parse_ports(given)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01 08:00 UTC", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01 8:00:30Z", datetime(2026, 12, 1, 8, 0, 30, tzinfo=UTC)),
        ("2026-12-01T08:00+01:00", datetime(2026, 12, 1, 7, tzinfo=UTC)),
        ("2026-12-01 08:00 +0100", datetime(2026, 12, 1, 7, tzinfo=UTC)),
        ("2026-07-01 08:00 Europe/Berlin", datetime(2026, 7, 1, 6, tzinfo=UTC)),
        ("2026-12-01 08:00", datetime(2026, 12, 1, 8).astimezone()),
    ],
)
def test_moments_are_read_as_people_write_them(text, moment):
    assert units.parse_moment(text) == moment
    assert units.parse_moment(units.show_moment(moment)) == moment.replace(second=0)


@pytest.mark.parametrize("given", ["2026-12-01", "1.12.2026 8:00", "2026-12-01 25:00", 8, None])
def test_moments_that_nobody_can_be_sure_of_are_refused(given):
    with pytest.raises(ValueError, match="2026-12-01 08:00 Europe/Berlin"):
        units.parse_moment(given)


def test_a_good_file_is_read_whole(parse):
    site = parse(GOOD)
    assert site.ports == (40000, 49999)
    assert site.profiles["interactive"].memory.default == 2048
    assert site.profiles["interactive"].walltime.limit == 86400
    assert site.profiles["gpu"].walltime.default == 129600
    assert site.clusters["maxwell"].audience == "https://broker.maxwell.example.org"
    assert site.audiences() == {
        "https://notebooks.example.org:9618",
        "https://broker.maxwell.example.org",
        "https://dcache.example.org",
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("memory: 2 GiB", "memory: 2", 22, "2 GiB or 512 MiB"),
        ("memory: 2 GiB", "memroy: 2 GiB", 22, "no setting 'memroy'"),
        ("{default: 12h, max: 24h}", "{default: 36h, max: 24h}", 23, "above its max 1d"),
        ("cluster: naf", "cluster: nef", 19, "there is no cluster 'nef'; there are: naf, maxwell"),
        ("slot: reserved", "slot: reserverd", 20, "'reserved' or 'ordinary'"),
        ("slot: reserved", "partition: gpu", 20, "slurm only"),
        ("kind: slurm", "kind: pbs", 13, "htcondor, slurm"),
        ("https://hub.example.org/", "http://hub.example.org/", 2, "not https"),
        ("    title: One GPU\n", "", 24, "'title' is missing"),
        ("hub_id: desy-naf", "hub_id: Desy NAF", 1, "'Desy NAF' is not allowed"),
        ("ports: 40000-49999", "ports: 4-5", 3, "40000-49999"),
        ("  gpu:\n", "  interactive:\n", 24, "given twice"),
        ("choices: [1, 2], default: 1", "choices: [1, 2], default: 3", 28, "none of the choices"),
        ("    cpus: 1\n", "    cpus: [\n", 23, "no YAML"),
    ],
)
def test_each_mistake_is_named_with_its_line(parse, old, new, line, words):
    assert old in GOOD
    with pytest.raises(SiteError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert f"site.yaml, line {line}:" in caught.value.sentence
    assert words in caught.value.sentence


def test_a_profile_takes_from_the_defaults_what_it_does_not_say(parse):
    text = GOOD.replace("profiles:", DEFAULTS + "profiles:") + "    overflow: [interactive]\n"
    site = parse(
        text + "  open: {title: Open, cluster: naf, groups: [], overflow: [interactive]}\n"
    )
    interactive, gpu, free = (site.profiles[name] for name in ("interactive", "gpu", "open"))
    assert (interactive.memory.default, interactive.memory.limit) == (2048, 2048)
    assert interactive.walltime.limit == 86400
    assert interactive.groups == ("/cms",)
    assert interactive.patience is None
    assert (gpu.memory.default, gpu.memory.limit, gpu.cpus.default) == (3072, 8192, 2)
    assert (gpu.groups, gpu.workdir, gpu.patience) == (("/cms/gpu",), "/scratch", 60)
    assert free.groups == ()
    assert parse(text + "    memory:\n").profiles["gpu"].memory.default == 3072  # left empty
    assert parse(text.replace("  patience: 1m\n", "")).profiles["gpu"].patience == 30


def test_all_mistakes_are_named_at_once(parse):
    text = GOOD.replace("cluster: naf", "cluster: nef").replace("cluster: maxwell", "cluster: x")
    with pytest.raises(SiteError) as caught:
        parse(text)
    assert len(caught.value.sentence.splitlines()) == 2


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(SiteError, match="cannot be read: No such file"):
        load_site(tmp_path / "none.yaml")


EXTRAS = """
  tuned:
    title: Tuned
    cluster: naf
    submit_commands: {+WantX: true, rank: KFlops, nice_user: 0}
    prologue: |
      source /etc/profile.d/modules.sh
      module load root
    environment: {OMP_NUM_THREADS: 4, X509_CERT_DIR: /cvmfs/certs}
  plain:
    title: Plain
    cluster: naf
"""
WITH_DEFAULTS = GOOD.replace(
    "    collector:",
    "    prologue: umask 077\n    environment: {SITE: naf, X: '1'}\n    collector:",
)


def test_what_an_admin_adds_to_a_job_is_the_profiles_over_the_clusters(parse):
    site = parse(WITH_DEFAULTS + EXTRAS.lstrip("\n"))
    tuned, plain, gpu = (site.profiles[name] for name in ("tuned", "plain", "gpu"))
    assert tuned.extras == {"+WantX": "true", "rank": "KFlops", "nice_user": "0"}
    assert site.prologue_of(tuned) == "source /etc/profile.d/modules.sh\nmodule load root"
    assert site.prologue_of(plain) == "umask 077"
    assert site.environment_of(tuned) == {
        "SITE": "naf",
        "X": "1",
        "OMP_NUM_THREADS": "4",
        "X509_CERT_DIR": "/cvmfs/certs",
    }
    assert (site.prologue_of(gpu), site.environment_of(gpu), gpu.extras) == ("", {}, {})


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("    slot: reserved", "    sbatch_options: {nice: 1}", 20, "slurm only"),
        ("    partition: gpu", "    submit_commands: {rank: '1'}", 27, "htcondor only"),
        ("    cpus: 1", "    environment: {JUPYTERHUB_API_TOKEN: x}", 21, "set by the hub"),
        ("    slot: reserved", "    submit_commands: {universe: local}", 20, "cannot be set here"),
        ("    partition: gpu", "    sbatch_options: {job-name: x}", 27, "cannot be set here"),
        ("    cpus: 1", "    environment: {JPY_API_TOKEN: x}", 21, "set by the hub"),
        ("    cpus: 1", "    environment: {BEARER_TOKEN_FILE: x}", 21, "set by the hub"),
        ("    cpus: 1", "    environment: {ROOST_TOKEN_DIR: x}", 21, "set by the hub"),
        ("    cpus: 1", "    environment: {SLURM_JOB_ID: '1'}", 21, "batch system"),
        ("    cpus: 1", "    environment: {2X: x}", 21, "no name of a variable"),
        ("    cpus: 1", "    environment: {X: 1.10}", 21, "put it in quotes"),
        ("    cpus: 1", "    environment: {X: yes}", 21, "put it in quotes"),
        ("    cpus: 1", '    environment: {X: "a\\nb"}', 21, "one line"),
        ("    cpus: 1", "    environment: [X]", 21, "name: value"),
        ("    cpus: 1", '    prologue: "a\\0b"', 21, "cannot be printed"),
        ("    cpus: 1", f"    prologue: {'x' * 17000}", 21, "up to 16384"),
        ("    collector:", "    environment: {JPY_X: x}\n    collector:", 9, "set by the hub"),
    ],
)
def test_what_would_override_ours_is_refused_with_its_line(parse, old, new, line, words):
    assert old in GOOD
    with pytest.raises(SiteError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert f"site.yaml, line {line}:" in caught.value.sentence
    assert words in caught.value.sentence


def test_the_families_say_what_may_not_be_added_and_the_line_is_named(parse, monkeypatch):
    def problem(extras):
        return "universe is ours" if "universe" in extras else None

    monkeypatch.setattr("roost_spawner.site.extras.htcondor.extras_problem", problem)
    text = EXTRAS.replace("{+WantX: true,", "\n      {universe: local,")
    with pytest.raises(SiteError) as caught:
        parse(GOOD + text.lstrip("\n"))
    line = (
        (GOOD + text.lstrip("\n"))
        .splitlines()
        .index("      {universe: local, rank: KFlops, nice_user: 0}")
    )
    assert f"line {line + 1}: profiles.tuned.submit_commands.universe: universe is ours" in str(
        caught.value.sentence
    )


ABSURD = ["9" * 303 + "T", "9" * 400 + "d", "9" * 5000, "9" * 5000 + "h", "1." + "9" * 400 + "G"]


@pytest.mark.parametrize("given", [*ABSURD, 10**400, float("inf"), "1d" + "9" * 99 + "h"])
@pytest.mark.parametrize(
    "parse",
    [
        units.parse_memory,
        units.parse_duration,
        units.parse_count,
        units.parse_ports,
        units.parse_moment,
    ],
)
def test_an_absurd_amount_is_refused_in_a_short_sentence(parse, given):
    with pytest.raises(ValueError, match=r"is no|names a") as refused:
        parse(given)
    assert len(str(refused.value)) < 250


def test_a_file_with_an_absurd_amount_is_refused(tmp_path):
    shipped = (Path(__file__).parents[2] / "hub-config/site.yaml").read_text()
    path = tmp_path / "site.yaml"
    path.write_text(shipped.replace("memory: 1 GiB", f"memory: {'9' * 303}T", 1))
    with pytest.raises(SiteError) as refused:
        load_site(path)
    assert "is no amount of memory" in refused.value.sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("constraint", "[skylake|icelake]"),
        ("constraint", "(a100|h100)&nvlink"),
        ("constraint", "[rack1*2&rack2*4]"),
        ("account", "abc@v100"),
        ("partition", "_gpu"),
        ("partition", "gpu,cpu"),
        ("qos", "gpu_interactive"),
        ("reservation", "maint-2026+extra"),
    ],
)
def test_what_slurm_takes_the_file_takes(parse, key, value):
    text = GOOD.replace("    partition: gpu\n", f"    {key}: '{value}'\n", 1)
    assert getattr(parse(text).profiles["gpu"], key) == value


@pytest.mark.parametrize("value", ["two words", "-x", "$(id)", "a;b", "x" * 129, "a\tb", "ü"])
def test_what_is_no_word_of_slurms_the_file_refuses(parse, value):
    text = GOOD.replace("    partition: gpu\n", f'    constraint: "{value}"\n', 1)
    with pytest.raises(SiteError):
        parse(text)
