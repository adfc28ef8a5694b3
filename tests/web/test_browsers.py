"""Other browsers, settings and media: blocked storage, a browser that is too old, paper, few colours, large letters."""

from collections.abc import Callable

import pytest

from tests.system.conftest import Server
from tests.system.test_main_job import bash
from tests.web.browser import Page

BLOCKED = """for (const kind of ['sessionStorage', 'localStorage']) {
    Object.defineProperty(window, kind, { get() { throw new DOMException('blocked', 'SecurityError') } }) }"""


def test_with_storage_blocked_one_is_signed_in_for_this_tab_and_told_so(
    open_page: Callable[[Server], Page], server: Server
):
    page = open_page(server)
    page.before_each_load(BLOCKED)
    page.go("/")
    page.reads("This browser blocks storage")
    assert page.named("checkbox", "Keep me signed in on this device") == []
    page.fill("API key", server.key)
    page.press("Enter")
    page.heading("Tasks")
    page.visit("#/new", "Instructions")
    page.fill("Instructions", "Kept in memory")
    page.visit("#/agents", "Document analysis")
    page.visit("#/new", "Discard this draft")
    page.visit("#/account", "API keys")
    page.click("button", "Sign out")
    page.heading("Sign in")


@pytest.mark.parametrize(
    "lacking",
    [
        "delete AbortSignal.any",
        "delete window.TextDecoderStream",
        "CSS.supports = () => false",
        "delete HTMLDialogElement.prototype.showModal",
    ],
)
def test_a_browser_that_is_too_old_is_told_which_is_not(
    open_page: Callable[[Server], Page], server: Server, lacking: str
):
    page = open_page(server)
    page.before_each_load(lacking)
    page.go("/")
    page.reads("This browser is too old for this page")
    page.reads("Firefox 124")
    assert page.named("textbox", "API key") == []


@pytest.mark.parametrize("key", ["“ac_live_x”", "ac_live_ключ", "ac_live_a b"])
def test_a_key_with_letters_that_no_key_has_is_refused_before_it_is_sent(
    open_page: Callable[[Server], Page], server: Server, key: str
):
    page = open_page(server)
    page.go("/")
    page.fill("API key", key)
    before = len(page.requests)
    page.click("button", "Sign in")
    page.reads("A key has no ")
    assert page.requests[before:] == []


def test_who_signs_out_in_one_tab_is_signed_out_in_the_other_at_once(
    open_page: Callable[[Server], Page], server: Server
):
    page = open_page(server)
    page.go("/")
    page.fill("API key", server.key)
    page.click("checkbox", "Keep me signed in on this device")
    page.click("button", "Sign in")
    page.heading("Tasks")
    other = page.browser.tab(page.context, server.url)
    other.go("/")
    other.heading("Tasks")
    page.call("Page.bringToFront")
    page.visit("#/account", "API keys")
    page.click("button", "Sign out")
    other.heading("Sign in")
    other.reads("You signed out in another tab.")
    assert "no longer valid" not in other.text()
    assert other.faults == []


@pytest.fixture(scope="module")
def long_task(server: Server) -> dict:
    lines = "\n".join(f"instruction number {n}" for n in range(60))
    return server.run(f"Print me\n{lines}\n" + bash("seq 120 | sed 's/^/line /'", "ls not-there"))


def test_on_paper_nothing_is_cut_folded_or_to_be_pressed(page: Page, long_task: dict):
    page.visit(f"#/tasks/{long_task['id']}", "Transcript")
    page.on_paper()
    cut = """[...document.querySelectorAll('main *')].filter((one) => one.clientHeight
        && one.scrollHeight > one.clientHeight + 2 && getComputedStyle(one).overflowY !== 'visible'
        && !one.classList.contains('unseen')).map((one) => one.outerHTML.slice(0, 90))"""
    assert page.run(cut) == []
    for words in ("instruction number 59", "line 1\n", "line 120"):
        assert words in page.run("document.querySelector('main').innerText"), words
    assert page.run("getComputedStyle(document.querySelector('.clipped')).maskImage") == "none"
    seen = """[...document.querySelectorAll('button:not(.file-name, .chip, .link), .button, nav')]
        .filter((one) => one.checkVisibility()).map((one) => one.innerText)"""
    assert page.run(seen) == []
    kept = "(one) => getComputedStyle(one).printColorAdjust === 'exact'"
    assert page.run(f"[...document.querySelectorAll('.swatch')].every({kept})")
    page.run("void dispatchEvent(new Event('afterprint'))")
    assert page.run("[...document.querySelectorAll('details.tool')].every((fold) => !fold.open)")


def test_with_forced_colours_the_legends_keep_theirs(page: Page, long_task: dict):
    page.visit(f"#/tasks/{long_task['id']}", "Transcript")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    swatches = "[...document.querySelectorAll('.legend .swatch')]"
    colours = f"{swatches}.map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(page.run(colours))) == 4


def test_large_letters_cut_no_column(page: Page, long_task: dict):
    page.visit("#/tasks", "Print me")
    page.run("""void (([sheet]) => sheet.insertRule('* { font-size: 24px !important }', sheet.cssRules.length))
        (document.styleSheets)""")
    cut = """[...document.querySelectorAll('.tasks tbody td:not(.task, .agent), .tasks th')]
        .filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.innerText)"""
    assert page.run(cut) == []


def test_clicks_pass_through_a_message_which_another_view_takes_away(page: Page):
    page.look(width=390, height=700)
    module = page.run("document.querySelector('link[href$=\"/dom.js\"]').href")
    page.run(f"import('{module}').then((dom) => dom.announce('x'.repeat(400), 'error'))")
    under = """(() => { const box = document.querySelector('.notice').getBoundingClientRect();
        return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).className })()"""
    assert "notice" not in page.run(under)
    page.visit("#/agents", "Document analysis")
    assert page.run("document.querySelector('.notice')") is None


def test_right_to_left_text_is_laid_out_so(page: Page, server: Server):
    words = "احسب مجموع الأرقام"
    task = server.run(f"{words}\n" + bash("true", finish=f"--complete-task --message '{words}'"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    for place in ("h1", ".said.user .plain", ".outcome .prose p"):
        assert page.run(f"getComputedStyle(document.querySelector('{place}')).direction") == "rtl", place
    page.visit("#/tasks", words)
    link = f"[...document.querySelectorAll('.tasks a')].find((one) => one.title === '{words}')"
    assert page.run(f"getComputedStyle({link}).direction") == "rtl"


VIEWS = {
    "#/tasks": "Tasks",
    "#/new": "Instructions",
    "#/agents": "Document analysis",
    "#/agents/agt_standard_coding": "Versions",
    "#/containers": "Containers",
    "#/account": "API keys",
}


def test_every_view_begins_at_one_edge_and_has_at_most_one_main_button(page: Page, long_task: dict):
    edges = set()
    for view, words in {**VIEWS, f"#/tasks/{long_task['id']}": "Transcript"}.items():
        page.visit(view, words)
        left = "document.querySelector('{}').getBoundingClientRect().left"
        edges.update(page.run(f"[{left.format('.brand')}, {left.format('h1')}]"))
        assert page.run("document.querySelectorAll('.primary').length") <= 1, view
    assert len(edges) == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_what_is_pressed_is_at_least_24_pixels_high(page: Page, long_task: dict, width: int):
    page.look(width=width)
    small = """[...document.querySelectorAll('a, button, summary, select, textarea, input:not(.unseen)')]
        .filter((one) => !['checkbox', 'radio'].includes(one.type) && one.checkVisibility()
            && one.getBoundingClientRect().height < 24 && !one.closest('.skip, p'))
        .map((one) => [one.outerHTML.slice(0, 90), one.getBoundingClientRect().height])"""
    for view, words in {**VIEWS, f"#/tasks/{long_task['id']}": "Transcript"}.items():
        page.visit(view, words)
        assert page.run(small) == [], view
    page.go("/docs")
    assert page.run(small) == []
