"""Files and Markdown on the page: as GitHub shows them, in form, whole, and within their dialog."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.system.conftest import Server, wait_until
from tests.system.test_main_job import bash
from tests.web.browser import Page
from tests.web.test_hostile import quoted

DOT = "R0lGODlhAQABAIAAAAAAAP///yH5BAAAAAAALAAAAAABAAEAAAIBRAA7"
MESSAGE = """# Done

1. one
2. two
   - nested
     - deeper
3. three

- [x] checked
- [ ] open

| Left | Middle | Right |
|:-----|:------:|------:|
| a    | b      | 1     |

![A dot](./out/dot.gif) ~~gone~~ [the data](data.json) https://example.org/x notes.md

> [!NOTE]
> Said aside.
"""
JSON = '{"id":12345678901234567890,"list":[1.0,{}],"text":"a\\"{b}"}'
PRETTY = '{\n  "id": 12345678901234567890,\n  "list": [\n    1.0,\n    {}\n  ],\n  "text": "a\\"{b}"\n}'
LINES = '{"a":1}\n{"a":[2]}\n'


def pdf(pages: int) -> bytes:
    """A small document; each page says its number."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    for number in range(pages):
        text = f"BT /F1 40 Tf 72 700 Td (Page {number + 1}) Tj ET"
        font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects) + 2} 0 R"
            f" /Resources << /Font << /F1 {font} >> >> >>",
            f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        ]
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(pages))
    objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>"
    out, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return f"{out}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()


@pytest.fixture(scope="module")
def task(server: Server) -> dict:
    long = "\n\n".join(f"Paragraph {n} of many." for n in range(200))
    given = {
        "data.json": JSON.encode(),
        "rows.jsonl": LINES.encode(),
        "paper.pdf": pdf(3),
        "long.md": long.encode(),
        "not.pdf": b"this is no PDF",
    }
    files = [server.upload(name, content) for name, content in given.items()]
    done = server.run(
        bash(
            f"cp task_files/* .; echo {DOT} | base64 -d > dot.gif",
            finish=f"--complete-task --message {quoted(MESSAGE)} dot.gif {' '.join(given)}",
        ),
        files=files,
    )
    assert done["status"] == "finished", done["error"]
    return done


@pytest.fixture
def shown(page: Page, task: dict) -> Page:
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    return page


def test_a_result_is_markdown_as_github_shows_it(shown: Page):
    prose = "document.querySelector('.outcome .prose')"
    shown.wait(f"{prose}.querySelector('img')?.naturalWidth === 1")
    assert shown.run(f"{prose}.querySelector('img').alt") == "A dot"
    assert shown.run(f"{prose}.querySelectorAll(':scope > ol').length") == 1
    assert shown.run(f"{prose}.querySelector('ol > li:nth-child(2) > ul > li > ul > li').innerText") == "deeper"
    assert shown.run(f"{prose}.querySelector('ol > li:nth-child(3)').innerText") == "three"
    boxes = f"[...{prose}.querySelectorAll('li.task input')].map((box) => [box.checked, box.disabled])"
    assert shown.run(boxes) == [[True, True], [False, True]]
    aligned = f"[...{prose}.querySelectorAll('td')].map((cell) => getComputedStyle(cell).textAlign)"
    assert shown.run(aligned) == ["left", "center", "right"]
    assert shown.run(f"{prose}.querySelector('del').innerText") == "gone"
    links = f"[...{prose}.querySelectorAll('a')].map((link) => link.href)"
    assert shown.run(links) == ["https://example.org/x"]  # and not notes.md, which is no domain here
    assert shown.run(f"{prose}.querySelector('.callout.note').innerText") == "Note\nSaid aside."
    shown.click("button", "the data")
    shown.wait("document.querySelector('dialog h2').innerText === 'data.json'")


def opened(page: Page, name: str) -> None:
    page.wait("!document.querySelector('dialog')")
    page.run(f"[...document.querySelectorAll('.files .file-name')].find((one) => one.innerText === '{name}').click()")
    page.wait("document.querySelector('dialog .preview:not([aria-busy])')")


def test_json_has_line_ends_and_loses_no_digit(shown: Page):
    opened(shown, "data.json")
    assert shown.run("document.querySelector('dialog pre').innerText") == PRETTY
    shown.press("Escape")
    opened(shown, "rows.jsonl")
    assert shown.run("document.querySelector('dialog pre').innerText") == '{\n  "a": 1\n}\n{\n  "a": [\n    2\n  ]\n}'


def test_a_pdf_is_drawn_page_by_page_and_what_is_none_says_so(shown: Page):
    opened(shown, "paper.pdf")
    shown.wait("document.querySelector('canvas.drawn')?.textContent === 'Page 1'")
    assert shown.run("document.querySelectorAll('dialog canvas').length") == 3
    ink = """((one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data
        .some((value, at) => at % 4 === 0 && value < 90))(document.querySelector('canvas.drawn'))"""
    assert shown.run(ink)
    shown.run("document.querySelectorAll('dialog canvas')[2].scrollIntoView()")
    shown.wait("document.querySelectorAll('dialog canvas')[2].textContent === 'Page 3'")
    shown.press("Escape")
    opened(shown, "not.pdf")
    shown.reads("This PDF can't be shown")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_document_scrolls_within_its_dialog(shown: Page, width: int):
    shown.look(width=width, height=700)
    opened(shown, "long.md")
    inside = "document.querySelector('dialog .body')"
    assert shown.run(f"{inside}.scrollHeight > {inside}.clientHeight")
    for name in ("Close", "Download"):
        button = f"[...document.querySelectorAll('dialog button')].find((one) => one.innerText === '{name}')"
        box = shown.run(f"{button}.getBoundingClientRect().toJSON()")
        assert box["top"] > 0 and box["bottom"] < 700, name
    shown.press("Escape")


def test_all_files_are_downloaded_at_once(shown: Page, task: dict, tmp_path: Path):
    shown.downloads(tmp_path)
    shown.click("button", "Download all")
    archive = tmp_path / f"{task['id']}.zip"
    wait_until(archive.exists, 10)
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as zipped:
        assert set(zipped.namelist()) == {"dot.gif", "data.json", "rows.jsonl", "paper.pdf", "long.md", "not.pdf"}
        assert zipped.read("data.json") == JSON.encode()


def test_markdown_that_was_made_to_be_slow_is_not(shown: Page):
    module = shown.run("document.querySelector('link[href$=\"/markdown.js\"]').href")
    made = [
        "'> '.repeat(20000) + 'a'",
        "'['.repeat(60000)",
        "'*a '.repeat(40000)",
        "'|'.repeat(90000) + '\\n' + '|-'.repeat(40000)",
        "'- '.repeat(30000)",
        "'`'.repeat(90000) + 'a'",
        "'![a]('.repeat(20000)",
        "'<a '.repeat(40000)",
        "'&#x'.repeat(40000)",
        "'http://a'.repeat(20000)",
        "'_a__b'.repeat(30000)",
    ]
    for text in made:
        took = shown.run(f"""import('{module}').then(({{markdown}}) => {{
            const began = performance.now(); markdown({text}); return performance.now() - began }})""")
        assert took < 3000, (text, took)
