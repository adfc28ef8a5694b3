"""Laws of the commands' arguments and of the line splitter, tried with many inputs on the real modules."""

import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.pi.bundle import GUEST

QUIRKS = settings(max_examples=150)
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)
OPTIONS = st.sampled_from(
    [
        "--complete-task",
        "--incomplete-task",
        "--message",
        "--message=",
        "-m",
        "--output",
        "--output=a=b",
        "--",
        "-",
        "--help=",
        "--for",
        "--until",
        "--for=2h",
        "=",
        "--=",
        "---",
        "--message=--",
        "-mm",
    ]
)
PATHS = WORDS.filter(str.strip)
NAMES = PATHS.map(str.strip).filter(lambda name: name and "=" not in name)

DRIVER = """
import { createInterface } from "node:readline";
const modules = {};
for (const name of ["finish", "attach", "hibernate"]) modules[name] = await import(`${process.argv[1]}/${name}.mjs`);
const { Lines } = await import(`${process.argv[1]}/lines.mjs`);
const asked = {
  parse(name, argv) {
    try {
      return { wish: modules[name].parse(argv) };
    } catch (error) {
      const known = error.constructor.name === "WrongUse" || error.code?.startsWith("ERR_PARSE");
      return { wrong: error.message, known };
    }
  },
  lines(base64, cuts) {
    const found = [];
    const bytes = Buffer.from(base64, "base64");
    const keep = (text) => found.push(Buffer.from(text).toString("base64"));
    const lines = new Lines(keep, (head) => !head.startsWith("no"));
    let start = 0;
    for (const cut of [...cuts.sort((a, b) => a - b), bytes.length]) {
      lines.push(bytes.subarray(start, Math.max(start, cut)));
      start = Math.max(start, cut);
    }
    return found;
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...args] = JSON.parse(line);
  process.stdout.write(JSON.stringify(asked[what](...args)) + "\\n");
}
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(node: Path) -> Iterator[Ask]:
    """Calls a function of the driver in one node process that stays."""
    argv = [str(node), "--input-type=module", "-e", DRIVER, "--", str(GUEST)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf8") as process:

        def asked(*words: Any) -> Any:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield asked
        process.stdin.close()


@QUIRKS
@given(name=st.sampled_from(["finish", "attach", "hibernate"]), argv=st.lists(OPTIONS | WORDS, max_size=7))
def test_any_arguments_are_a_wish_or_a_wrong_use_with_words(ask: Ask, name: str, argv: list[str]):
    answer = ask("parse", name, argv)
    assert "wish" in answer or (answer["known"] and answer["wrong"])


@QUIRKS
@given(
    complete=st.booleans(),
    message=WORDS.filter(str.strip),
    files=st.lists(PATHS, max_size=4),
    outputs=st.lists(st.tuples(NAMES, WORDS), max_size=3),
)
def test_what_is_said_to_finish_is_what_is_sent(ask: Ask, complete: bool, message: str, files: list, outputs: list):
    flag = "--complete-task" if complete else "--incomplete-task"
    named = [f"--output={name}={path}" for name, path in outputs]
    wish = ask("parse", "finish", [flag, f"--message={message}", *named, "--", *files])["wish"]
    assert wish["completion"] == ("complete" if complete else "incomplete")
    assert [(file["path"], file["outputName"]) for file in wish["files"]] == [
        *[(path, None) for path in files],
        *[(path, name) for name, path in outputs],
    ]


@QUIRKS
@given(parts=st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("smhd")), min_size=1, max_size=4))
def test_durations_add_up(ask: Ask, parts: list[tuple[int, str]]):
    seconds = sum(number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)
    answer = ask("parse", "hibernate", ["--for", "".join(f"{number}{unit}" for number, unit in parts)])
    if seconds:
        assert answer["wish"]["forSeconds"] == seconds
    else:
        assert answer["known"]


@QUIRKS
@given(
    lines=st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    unwanted=st.sets(st.integers(0, 7)),
    rest=st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    data=st.data(),
)
def test_lines_come_out_as_they_went_in_however_they_are_cut(ask: Ask, lines: list, unwanted: set, rest: bytes, data):
    texts = [line.decode("utf8", "ignore") for line in lines]
    texts = [f"no{text}" if i in unwanted else f"yes{text}\u2028" for i, text in enumerate(texts)]
    stream = "".join(f"{text}\n" for text in texts).encode() + rest
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    found = ask("lines", b64encode(stream).decode(), cuts)
    assert [b64decode(line).decode() for line in found] == [text for text in texts if not text.startswith("no")]
