"""The parts of a recording: YAML that says what was meant, changes between bodies, hidden secrets and masked text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.gateway.cassettes import bodies, difference, text
from agentcontainer_local.gateway.cassettes.document import About, Answer, Head, Request
from agentcontainer_local.gateway.cassettes.noted import Noted, written
from agentcontainer_local.gateway.cassettes.secrets import Secrets
from agentcontainer_local.gateway.cassettes.tape import Tape
from agentcontainer_local.gateway.cassettes.told import Passed
from agentcontainer_local.gateway.cassettes.volatile import alike, masked, masked_all

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.text(
    "a \n\t\r:#-'\"\x85\u2028", max_size=20
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
ITEMS = st.lists(st.integers(0, 3), min_size=1, max_size=6)
BODY = st.fixed_dictionaries({"messages": ITEMS}, optional=dict.fromkeys(("system", "tools", "max_tokens"), JSON))


@given(st.lists(JSON, min_size=1, max_size=3))
def test_what_is_written_part_by_part_is_read_again(values):
    written = "calls:\n" + "".join(text.write([value]) for value in values) + text.write({"ended": "finished"})
    assert text.read(written) == {"calls": values, "ended": "finished"}


def test_text_of_several_lines_stands_as_such():
    assert text.write({"a": "one\ntwo\n", "b": "event: x\ndata: {}\n\n"}) == (
        "a: |\n  one\n  two\nb: |+\n  event: x\n  data: {}\n\n"
    )


@given(st.lists(BODY, min_size=1, max_size=5))
def test_bodies_written_as_changes_are_read_in_full(made):
    requests = []
    for number, body in enumerate(made, 1):
        change = bodies.change(number - 1, made[number - 2], body) if number > 1 else None
        requests.append(Request(path="/", body=None if change else body, change=change))
    assert bodies.whole(requests) == made


@given(JSON, JSON)
def test_a_difference_has_lines_exactly_where_there_is_one(one, other):
    written = [json.dumps(value, sort_keys=True).replace("-0.0", "0.0") for value in (one, other)]
    assert bool(difference.lines(one, other)) == (written[0] != written[1])


@given(JSON, JSON)
def test_two_values_are_alike_exactly_where_they_do_not_differ_when_masked(one, other):
    assert alike(one, one)
    assert alike(one, other) == (not difference.lines(masked_all(one), masked_all(other)))


def test_a_long_line_is_shown_where_it_differs():
    lines = difference.lines({"text": "x" * 500 + "left" + "y" * 500}, {"text": "x" * 500 + "right" + "y" * 500})
    assert all(any(word in line for line in lines) for word in ("left", "right"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-11-28T01:48:29.123Z", "2027-01-02T11:00:00Z"),
        ("Sat Nov 28 01:48:29 UTC 2026", "Sun Nov 29 11:48:29 UTC 2026"),
        ("-rw-r--r-- 1 agent agent 5 Nov 28 01:48 a.txt", "-rw-r--r-- 1 agent agent 5 Jan  3 11:02 a.txt"),
        ("-rw-r--r-- 1 41952 41952  921 Nov 28 01:48 a", "-rw-r--r-- 1 9001 9001 921 Nov 28 01:48 a"),
        ("uid=41952 gid=41952 groups=41952", "uid=9001(agent) gid=9001(agent) groups=9001(agent),9(x)"),
        ("28/Nov/2026:01:48:29 +0000", "29/Nov/2026:11:00:00 +0000"),
        ("3 passed in 0.12s", "3 passed in 1.5s"),
        ("real\t0m0.103s", "real\t1m2.000s"),
        ("took 12 ms", "took 1500 ms"),
        ("/tmp/tmp.Xy12Ab34Cd/a", "/tmp/tmp.Qq55Ww66Ee/a"),
        ("/tmp/tmpab_1x9zk", "/tmp/tmpq7w8e9r0"),
        ("pi-bash-05ccbbba5f414c73.log", "pi-bash-83957855c354f4ad.log"),
        ("[main 3f2a9c1] x", "[main b00c4d5] x"),
        ("at 1764294509", "at 1764380909.25"),
        ("tsk_vdzdtsn7gvpfsthg5k552jgrs", "tsk_j933wwvsqc8g75j7w3gv9mqrf"),
        ("0b1e9d1c-5a35-4b86-9f7b-6f2d0c6f9b11", "1b1e9d1c-5a35-4b86-9f7b-6f2d0c6f9b12"),
    ],
)
def test_what_changes_from_run_to_run_is_masked(one, other):
    assert masked(one) == masked(other) != one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 passed", "4 passed"),
        ("/workspace/a.txt", "/workspace/b.txt"),
        ("total 12", "total 16"),
        ("-rw-r--r-- 1 a a 921 Nov 28 01:48 a", "-rw-r--r-- 1 a a 922 Nov 28 01:48 a"),
        ("-rw-r--r-- 1 a a 921 Nov 28 01:48 a", "-rwxr-xr-x 1 a a 921 Nov 28 01:48 a"),
        ("price 12.50", "price 12.60"),
        ("line 120", "line 121"),
        ("decade", "facade"),
        ("a" * 64, "b" * 64),
        ("template1234", "template5678"),
    ],
)
def test_what_says_something_is_compared(one, other):
    assert masked(one) != masked(other)


KEY = 'k"y/ with&all é1'


@pytest.mark.parametrize(
    "form", [KEY, json.dumps(KEY), "k%22y%2F%20with%26all%20%C3%A91", "Basic ayJ5LyB3aXRoJmFsbCDDqTE="]
)
def test_a_secret_is_hidden_in_every_form(form):
    assert "<secret>" in Secrets([KEY]).hidden(f"a {form} b")
    assert "with" not in Secrets([KEY]).hidden(f"a {form} b").replace("with the", "")


def test_a_word_in_a_keys_place_is_no_secret():
    assert Secrets(["none", ""]).hidden("none") == "none"


def test_a_picture_is_its_digest():
    shown = bodies.shown({"data": "iVBORw0KGgo" * 100, "say": "of tsk_1"}, Secrets([]), "tsk_1")
    assert shown["data"].startswith("<base64: 1100 characters, sha256 ")
    assert shown["say"] == "of <task>"


def test_a_recording_that_has_missed_a_call_is_never_whole(tmp_path, caplog):
    about = {
        "agent": "a",
        "mode": "autonomous",
        "backend": "podman",
        "provider": "p",
        "model": "m",
        "instructions": "i",
    }
    head = Head(cassette=1, recorded="now", agentcontainer="0", task=About(**about))
    tape = Tape(tmp_path / "away" / "one.yaml", "tsk_1", head)
    tape.add("/", {}, {"messages": [1]}, Answer(status=200))
    (tmp_path / "away").mkdir()
    tape.add("/", {}, {"messages": [1, 2]}, Answer(status=200))
    tape.end("finished")
    assert list((tmp_path / "away").iterdir()) == []
    assert caplog.text.count("was stopped") == 1


def noted(*pieces: bytes) -> Noted:
    response = Passed(200, "OK", {"content-type": "text/event-stream"}, _Nothing())
    return Noted(began=0, response=response, pieces=[(second, piece) for second, piece in enumerate(pieces)])


class _Nothing:
    async def iter_any(self):
        return
        yield b""

    async def read(self, n: int = -1) -> bytes:
        return b""


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_secret_that_comes_in_pieces_is_hidden(one, other):
    content = b"data: the-secret-key\n\ndata: more\n\n"
    first, last = sorted((one, one + other))
    answer = written(noted(content[:first], content[first:last], content[last:]), Secrets(["the-secret-key"]))
    assert b"".join(piece.content for piece in answer.pieces) == b"data: <secret>\n\ndata: more\n\n"


def test_a_character_that_comes_in_two_pieces_stays_text():
    content = "data: é\n\n".encode()
    answer = written(noted(content[:7], content[7:]), Secrets([]))
    assert [(piece.at_ms, piece.text) for piece in answer.pieces] == [(0, "data: "), (1000, "é\n\n")]


def test_what_is_no_text_is_kept_byte_by_byte():
    answer = written(noted(b"data: \xff", b"\xfe the-secret-key"), Secrets(["the-secret-key"]))
    assert [piece.content for piece in answer.pieces] == [b"data: \xff\xfe <secret>"]
