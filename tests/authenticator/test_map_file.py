from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_authenticator.errors import BadMapFile, NotMapped, UnsafeAccount
from roost_authenticator.mapfile import MapFile, parse, unsafe_account

pytestmark = pytest.mark.unit

IAM = "https://iam.example.org"
GOOD = f"""# people
SCITOKENS {IAM},uuid-a alice@example.org

scitokens   {IAM}/,uuid-b\tBob
SSL /O=Grid/CN=host(.*) condor@example.org
"""


def test_a_person_has_the_account_of_their_line():
    people = parse(GOOD)
    assert people.account(IAM, "uuid-a") == "alice"
    assert people.account(IAM, "uuid-b") == "Bob"


def test_a_byte_order_mark_loses_no_line(tmp_path):
    path = tmp_path / "map"
    path.write_text(f"SCITOKENS {IAM},uuid-a alice\nSCITOKENS {IAM},uuid-b Bob\n", "utf-8-sig")
    assert MapFile(path).account(IAM, "uuid-a") == "alice"


@pytest.mark.parametrize("mark", ["\ufeff", "\u200b", "\u0405"])
def test_a_line_that_begins_with_what_nobody_sees_is_not_passed_over(mark):
    with pytest.raises(BadMapFile, match=r"line 2: .* is no way of authentication"):
        parse(f"# people\n{mark}SCITOKENS {IAM},uuid-a alice\n")


def test_the_issuers_trailing_slash_makes_no_difference():
    assert parse(GOOD).account(IAM + "/", "uuid-a") == "alice"


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        (IAM, "uuid-c"),
        (IAM, "UUID-A"),
        (IAM, ""),
        ("https://other.example.org", "uuid-a"),
        ("https://iam.example.org.evil.org", "uuid-a"),
        ("", "uuid-a"),
    ],
)
def test_nobody_else_has_an_account(issuer, subject):
    with pytest.raises(NotMapped):
        parse(GOOD).account(issuer, subject)


def test_a_comma_cannot_move_between_issuer_and_subject():
    people = parse(f"SCITOKENS {IAM},a,b alice\n")
    with pytest.raises(NotMapped):
        people.account(IAM, "a,b")


def test_who_is_not_mapped_reads_issuer_and_subject():
    with pytest.raises(NotMapped, match=f"{IAM}, subject uuid-x"):
        parse(GOOD).account(IAM, "uuid-x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"SCITOKENS {IAM},x", "2 words"),
        (f"SCITOKENS {IAM},x alice bob", "4 words"),
        ("SCITOKENS /^https:.*,x$/ alice", "patterns are not taken"),
        (f'SCITOKENS "{IAM},x" alice', "must be an https:// issuer"),
        ("SCITOKENS http://iam.example.org,x alice", "must be an https:// issuer"),
        (f"SCITOKENS {IAM} alice", "lacks the comma"),
        (f"SCITOKENS {IAM}, alice", "lacks the comma"),
        ("@include /etc/roost/more", "@include is not taken"),
        (f"SCITOKENS {IAM}/,uuid-a mallory", "is mapped in line 2 already"),
    ],
)
def test_a_line_that_is_not_understood_refuses_the_whole_file_by_number(line, said):
    with pytest.raises(BadMapFile, match=r"people\.map, line 6: ") as caught:
        parse(GOOD + line + "\n", source="people.map")
    assert said in caught.value.sentence


def test_a_file_that_is_still_being_written_is_not_believed():
    with pytest.raises(BadMapFile, match="does not end"):
        parse(f"SCITOKENS {IAM},uuid-a al")


@pytest.mark.parametrize(
    "name",
    [
        "root", "ROOT", "Root", "nobody", "condor", "slurm", "munge", "daemon", "www-data",
        "systemd-network", "_apt", "0", "1000", "-alice", ".alice", "..", "", "al ice", "al/ice",
        "alice\n", "älice", "a" * 33, "alice$", "alice;id", "+alice", "root@example.org",
    ],
)  # fmt: skip
def test_system_accounts_and_what_is_no_name_are_given_to_no_one(name):
    assert unsafe_account(name)


@pytest.mark.parametrize("name", ["alice", "Bob", "_x", "a.b-c_d", "u1234", "a" * 32, "rooty"])
def test_peoples_accounts_are_taken(name):
    assert unsafe_account(name) is None


@pytest.mark.parametrize("account", ["root", "root@example.org", "condor@x", "@example.org", "0"])
def test_an_unsafe_account_maps_no_one_and_leaves_the_others(account):
    people = parse(GOOD + f"SCITOKENS {IAM},uuid-r {account}\n")
    with pytest.raises(UnsafeAccount, match="uuid-r"):
        people.account(IAM, "uuid-r")
    assert people.account(IAM, "uuid-a") == "alice"


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_with_a_line(text):
    accounts, said = {}, "m, line "
    try:
        accounts = parse(text, source="m").accounts
    except BadMapFile as error:
        said = error.sentence
    assert said.startswith("m, line ")
    assert all(unsafe_account(name) is None for name in accounts.values())


def replace(path, text):
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.rename(path)


def test_a_changed_file_counts_at_once(tmp_path):
    path = tmp_path / "map"
    path.write_text(GOOD)
    people = MapFile(path)
    assert people.account(IAM, "uuid-a") == "alice"
    replace(path, f"SCITOKENS {IAM},uuid-n newcomer\n")
    assert people.account(IAM, "uuid-n") == "newcomer"
    with pytest.raises(NotMapped):
        people.account(IAM, "uuid-a")


@pytest.mark.parametrize("text", ["SCITOKENS nonsense\n", f"SCITOKENS {IAM},uuid-a mal", "\udcff"])
def test_a_bad_file_leaves_the_last_good_one_in_force_and_is_logged_once(tmp_path, caplog, text):
    path = tmp_path / "map"
    path.write_text(GOOD)
    people = MapFile(path, log=logging.getLogger("map"))
    people.current()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for _ in range(3):
        assert people.account(IAM, "uuid-a") == "alice"
    assert people.error is not None
    assert [r.levelname for r in caplog.records].count("ERROR") == 1
    replace(path, GOOD)
    people.current()
    assert people.error is None


def test_a_file_that_vanished_leaves_the_last_good_one_in_force(tmp_path):
    path = tmp_path / "map"
    path.write_text(GOOD)
    people = MapFile(path)
    people.current()
    path.unlink()
    assert people.account(IAM, "uuid-a") == "alice"


def test_without_any_good_file_nobody_is_known(tmp_path):
    people = MapFile(tmp_path / "missing")
    with pytest.raises(BadMapFile, match="cannot be read"):
        people.account(IAM, "uuid-a")
    (tmp_path / "missing").write_text(GOOD)
    assert people.account(IAM, "uuid-a") == "alice"


def test_a_file_of_the_same_size_and_age_is_noticed_when_it_was_put_in_place(tmp_path):
    path = tmp_path / "map"
    path.write_text(f"SCITOKENS {IAM},uuid-a alice\n")
    status = path.stat()
    people = MapFile(path)
    people.current()
    replace(path, f"SCITOKENS {IAM},uuid-a malle\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert people.account(IAM, "uuid-a") == "malle"
