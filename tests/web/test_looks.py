"""For everybody: axe finds nothing, the keyboard is enough, and nothing scrolls sideways on a narrow screen."""

from collections.abc import Callable

import pytest

from tests.system.conftest import Server
from tests.system.test_main_job import bash
from tests.web.browser import SHIFT, Page

RUN_AXE = """axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations.map((one) =>
    [one.impact, one.id, one.nodes.map((node) => [node.html.slice(0, 200), node.failureSummary])]))"""


@pytest.fixture(scope="module")
def there(server: Server) -> dict[str, str]:
    """A task of each kind, an agent with two versions; answers every view that there is, and words of it."""
    finished = server.run(
        "# Long names\n"
        + bash(
            f"echo a,b > {'long' * 30}.csv; echo {'x' * 400}",
            finish=f"--complete-task --message Done {'long' * 30}.csv",
        )
    )
    failed = server.run(bash(finish="--complete-task --message Done not-there"), outputPolicy={"mode": "at_least_one"})
    conversation = server.post(
        "/agents/agt_standard_coding/conversations",
        {
            "instructions": "Be brief.",
            "overrides": {"model": "scripted"},
            "message": "```say\n# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n\n> said\n```",
        },
    )["task"]
    server.wait(conversation["id"], "awaiting_input")
    asleep = server.dispatch(bash("hibernate --for 1h"))
    server.wait(asleep["id"], "hibernating")
    agent = server.post("/agents/agt_standard_coding/fork", {"name": "Two versions"})
    server.post("/agents/agt_standard_coding/fork", {"name": "An agent with a name that no narrow screen holds " * 3})
    changed = {"basePrompt": "Be someone else.", "defaults": {"model": "scripted"}}
    server.client.patch(f"/api/v1/agents/{agent['id']}", json=changed).raise_for_status()
    return {
        "#/tasks": "Finished",
        f"#/tasks/{finished['id']}": "Long names",
        f"#/tasks/{failed['id']}": "Error",
        f"#/tasks/{conversation['id']}": "Your turn",
        f"#/tasks/{asleep['id']}": "Asleep",
        "#/new": "Instructions",
        f"#/new?from={finished['id']}": "Run again",
        "#/agents": "Two versions",
        f"#/agents/{agent['id']}": "What changed",
        "#/try?verb=POST&path=/api/v1/agents/{agentId}/tasks&name=Dispatch+task&query=limit&body={}": "Body (JSON)",
        "#/containers": "Containers",
        "#/containers/ctr_standard_coding": "Versions",
        "#/account": "in order",
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_on_any_view(page: Page, there: dict[str, str], axe: str, dark: bool):
    page.look(dark=dark)
    page.run(f"{axe}; undefined")
    for view, words in there.items():
        page.visit(view, words)
        page.browser.listen(0.15)
        assert page.run(RUN_AXE) == [], view
    page.visit(next(view for view, words in there.items() if words == "Your turn"), "Tokens and cost")
    page.click("button", "Model calls")
    assert page.run(RUN_AXE) == []
    page.press("Escape")
    for view, name in (("#/agents", "New agent"), ("#/containers", "New container")):
        page.visit(view, name)
        page.click("button", name)
        assert page.run(RUN_AXE) == [], name
        page.press("Escape")
    page.visit("#/account", "in order")
    page.run("document.querySelector('details.fold summary').click()")
    assert page.run(RUN_AXE) == []
    for name in ("New key", "Set openai"):
        page.click("button", name)
        assert page.run(RUN_AXE) == [], name
        page.press("Escape")
    csv = next(view for view, words in there.items() if words == "Long names")
    page.visit(csv, "Long names")
    page.click("button", f"{'long' * 30}.csv")
    page.wait("document.querySelector('dialog table')")
    assert page.run(RUN_AXE) == []


def test_axe_would_find_something(page: Page, axe: str):
    page.run(f"{axe}; undefined")
    page.run("void document.querySelector('main').append(document.createElement('button'))")
    assert [rule for _, rule, _ in page.run(RUN_AXE)] == ["button-name"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_before_signing_in_and_in_the_reference(
    open_page: Callable[[Server], Page], server: Server, axe: str, dark: bool
):
    page = open_page(server)
    page.look(dark=dark)
    for path in ("/", "/docs"):
        page.go(path)
        page.wait("document.querySelector('h1')")
        page.run(f"{axe}; undefined")
        assert page.run(RUN_AXE) == [], path


def test_nothing_scrolls_sideways_on_a_narrow_screen(page: Page, there: dict[str, str]):
    page.look(width=320, height=700)
    for view, words in there.items():
        page.visit(view, words)
        page.browser.listen(0.1)
        assert page.sideways() == [], view
    page.go("/docs")
    assert page.sideways() == []


def test_a_task_is_dispatched_with_the_keyboard_alone(page: Page, server: Server):
    page.tab_to("New task")
    page.press("Enter")
    page.heading("New task")
    page.wait("document.activeElement.tagName === 'TEXTAREA'")
    page.type("Done by hand\n" + bash("echo by keyboard"))
    page.tab_to("Model")
    page.type("scripted")
    for _ in range(30):
        page.press("Tab", SHIFT)
        if page.focused() == "Dispatch":
            break
    page.press("Enter")
    page.heading("Done by hand")
    page.wait("document.querySelector('.badge').innerText === 'Finished'", 60)
    page.tab_to("Run again")
    page.wait("document.querySelector('details.tool')")
    for _ in range(30):
        page.press("Tab")
        if page.run("document.activeElement.tagName === 'SUMMARY'"):
            break
    page.press("Enter")
    page.wait("document.querySelector('details.tool').open")


def test_the_first_stop_of_the_keyboard_skips_the_bar(page: Page):
    page.go("/")
    page.heading("Tasks")
    page.run("document.activeElement.blur()")
    page.tab_to("Skip to the content")
    page.press("Enter")
    assert page.run("document.activeElement.id") == "content"
