"""What strangers wrote: file names, Markdown, instructions, tables and pictures do not become active."""

from tests.system.conftest import Server
from tests.system.test_main_job import bash
from tests.web.browser import Page

MARK = '<img src=x onerror="window.hacked=1;alert(1)"><script>window.hacked=2;alert(2)</script>'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="alert(3)"><script>alert(4)</script></svg>'
NAMES = {
    "<img src=x onerror=alert(5)>.html": f"<!doctype html>{MARK}<body onload='alert(6)'>",
    "picture.svg": SVG,
    "words.md": f"# {MARK}\n\n{MARK}\n\n[press](javascript:alert(7)) ![x](javascript:alert(8))"
    " <a href='javascript:alert(9)'>me</a>\n",
    "cells.csv": f"{MARK.replace(',', ' ')},b\n=cmd|' /C calc'!A1,\"{MARK.replace(chr(34), chr(39))}\"\n",
    "gpj.\u202eexe.txt": MARK,
}


def quiet(page: Page) -> None:
    """Nothing ran, nothing was asked for elsewhere, and every element is one of ours."""
    page.browser.listen(0.2)
    assert page.dialogs == []
    assert page.run("window.hacked === undefined")
    assert page.run("document.querySelectorAll('script').length") == 1
    active = "iframe, object, embed, [onerror], [onload], a[href^='javascript:']"
    assert page.run(f'document.querySelectorAll("{active}").length') == 0
    assert page.run("[...document.images].every((image) => image.src.startsWith('blob:'))")


def test_hostile_content_is_text(page: Page, server: Server):
    agent = server.post("/agents/agt_standard_coding/fork", {"name": MARK[:150], "description": MARK})
    files = "; ".join(f"cp task_files/{at}.bin {quoted(name)}" for at, name in enumerate(NAMES))
    given = [server.upload(f"{at}.bin", content.encode()) for at, content in enumerate(NAMES.values())]
    task = server.run(
        f"{MARK}\n```say\n**bold** {MARK} [press](javascript:alert(10))"
        " <iframe src='javascript:alert(11)'></iframe>\n```\n"
        + bash(
            f"{files}; cat task_files/0.bin",
            finish=f"--complete-task --message {quoted(MARK)} " + " ".join(quoted(name) for name in NAMES),
        ),
        agent=agent["id"],
        files=given,
    )
    assert task["status"] == "finished", task["error"]

    page.visit("#/tasks", "Finished")
    page.reads("<img src=x")
    quiet(page)
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.reads("javascript:alert(10)")
    page.run("document.querySelectorAll('details').forEach((fold) => { fold.open = true })")
    page.reads("<!doctype html><img src=x")
    quiet(page)
    assert page.run("document.querySelectorAll('.files .file-name').length") == len(NAMES)
    for at in range(len(NAMES)):
        page.run(f"document.querySelectorAll('.files .file-name')[{at}].click()")
        page.wait("document.querySelector('dialog .preview:not([aria-busy])')")
        quiet(page)
        page.press("Escape")
        page.wait("!document.querySelector('dialog')")
    page.visit(f"#/agents/{agent['id']}", "Versions")
    quiet(page)
    page.visit("#/agents", "Agents")
    quiet(page)
    page.visit(f"#/new?from={task['id']}", "Run again")
    quiet(page)


def test_a_name_cannot_turn_its_own_ending_around(page: Page, server: Server):
    name = "gpj.\u202eexe.txt"
    task = server.run(bash(f"echo x > {quoted(name)}", finish=f"--complete-task --message Done {quoted(name)}"))
    page.visit(f"#/tasks/{task['id']}", "gpj.")
    assert page.run("document.querySelector('.file-name').textContent") == "gpj.\ufffdexe.txt"


def test_a_picture_with_a_script_in_it_does_not_run_even_as_a_document(page: Page, server: Server):
    given = server.upload("p.svg", SVG.encode())
    task = server.run(bash("cp task_files/p.svg q.svg", finish="--complete-task --message Done q.svg"), files=[given])
    page.visit(f"#/tasks/{task['id']}", "q.svg")
    page.click("button", "q.svg")
    page.wait("document.querySelector('dialog img')?.complete")
    page.run("void (location.href = document.querySelector('dialog img').src)")
    page.wait("location.protocol === 'blob:' && document.documentElement.localName === 'svg'")
    page.browser.listen(0.3)
    assert page.dialogs == []
    assert any("Content Security Policy" in fault for fault in page.faults)
    page.faults.clear()


def test_the_browser_itself_refuses_what_the_page_never_does(page: Page):
    """Should a line of ours ever parse HTML, or a stranger's script get in: the policy is a second wall."""
    tries = [
        "document.body.innerHTML = '<p>x</p>'",
        "document.body.insertAdjacentHTML('beforeend', '<p>x</p>')",
        "document.body.appendChild(document.createElement('script')).text = 'window.hacked = 1'",
        "new Function('window.hacked = 1')()",
        "setTimeout('window.hacked = 1')",
    ]
    for tried in tries:
        script = f"(() => {{ try {{ {tried}; return 'done' }} catch (error) {{ return 'refused' }} }})()"
        done = page.call("Runtime.evaluate", expression=script, returnByValue=True, allowUnsafeEvalBlockedByCSP=False)
        assert done["result"].get("value") == "refused", tried
    outside = "fetch('https://example.org/').then(() => 'done', () => 'refused')"
    assert page.run(outside) == "refused"
    page.browser.listen(0.2)
    assert page.run("window.hacked === undefined")
    page.faults.clear()
    page.requests[:] = [url for url in page.requests if "example.org" not in url]


def quoted(text: str) -> str:
    """For a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


MARKDOWN = """![x](https://example.org/spy.png) ![y](//example.org/spy.png) ![z](data:image/png;base64,AAAA)
[a](javascript:alert(21)) [b](data:text/html,<script>alert(22)</script>) [c](vbscript:alert(23)) <javascript:alert(24)>
[d](//example.org/x) [e](blob:x) [f](#/account) ![g](../../secret.png) <b onclick=alert(25)>bold</b> &lt;script&gt;
[ref]: javascript:alert(26)
[ref] ![ref]

| <img src=x onerror=alert(27)> | b |
|-|-|
| `<script>alert(28)</script>` | <svg onload=alert(29)> |
"""


def test_markdown_of_an_agent_loads_nothing_and_leads_only_to_the_web(page: Page, server: Server):
    finish = f"--complete-task --message {quoted(MARKDOWN)} made.md"
    given = server.upload("m.md", MARKDOWN.encode())
    task = server.run(bash("cp task_files/m.md made.md", finish=finish), files=[given])
    assert task["status"] == "finished", task["error"]
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("document.querySelector('.outcome .prose table')")
    quiet(page)
    page.click("button", "made.md")
    page.wait("document.querySelector('dialog .prose table')")
    quiet(page)
    assert page.run("document.images.length") == 0
    links = page.run("[...document.querySelectorAll('.prose a')].map((link) => link.href)")
    assert set(links) == {"https://example.org/spy.png"}
    assert "<b onclick=alert(25)>bold</b>" in page.run("document.querySelector('dialog .prose').innerText")


def test_a_pdf_with_scripts_runs_none(page: Page, server: Server):
    script = "<< /S /JavaScript /JS (app.alert\\(1\\); this.print\\(\\)) >>"
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R /OpenAction {script} >>",
        pages,
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Annots [<< /Type /Annot /Subtype /Link"
        f" /Rect [0 0 99 99] /A {script} >>] >>",
    ]
    text = "%PDF-1.4\n" + "".join(f"{number} 0 obj\n{one}\nendobj\n" for number, one in enumerate(objects, 1))
    given = server.upload("p.pdf", (text + "trailer << /Root 1 0 R /Size 4 >>\n%%EOF\n").encode())
    task = server.run(bash("cp task_files/p.pdf q.pdf", finish="--complete-task --message Done q.pdf"), files=[given])
    page.visit(f"#/tasks/{task['id']}", "q.pdf")
    page.click("button", "q.pdf")
    page.wait("document.querySelector('canvas.drawn')")
    quiet(page)
