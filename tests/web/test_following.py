"""What goes on is seen: the end of a transcript, a server that is gone, an image that is not there yet."""

import os
import subprocess
from collections.abc import Callable

from tests.fake_provider import Fails, FakeProvider, Silent
from tests.system.conftest import Server, far_end, provided, provider  # noqa: F401
from tests.system.test_main_job import bash
from tests.web.browser import CTRL, Page
from tests.web.conftest import sign_in
from tests.web.test_tasks import status

BELOW = "document.querySelector('.tail').getBoundingClientRect().bottom - innerHeight"
LATEST = "document.querySelector('.latest')"


def test_a_conversation_scrolls_to_the_newest_message(page: Page, server: Server):
    talk = server.converse("Hello\n" + bash("seq 300 | sed 's/$/ words/'"))
    server.answered(talk["id"], 1)
    page.visit(f"#/tasks/{talk['id']}", "Transcript")
    status(page, "Your turn")
    page.wait("document.querySelector('.said.agent')?.innerText.includes('300 words')")
    page.wait(f"{BELOW} <= 0")  # it opens at its end
    page.fill("Message", "And now?\n" + bash("echo the very last; seq 200 | sed 's/$/ more/'"))
    page.press("Enter", CTRL)
    page.wait("[...document.querySelectorAll('.said.agent')].at(-1).innerText.includes('200 more')", 60)
    page.wait(f"{BELOW} <= 0")
    box = "{}.getBoundingClientRect()"
    last = page.run(box.format("[...document.querySelectorAll('.said.agent')].at(-1)") + ".bottom")
    assert 0 < last <= page.run(box.format("document.querySelector('.dock')") + ".top") + 1


def test_a_running_transcript_follows_until_one_scrolls_up_and_then_offers_the_latest(page: Page, server: Server):
    task = server.dispatch("Follow me\n" + bash(*[f"echo line {n}; sleep 0.3" for n in range(60)]))
    page.look(height=420)
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("document.querySelectorAll('details.tool').length > 12", 60)
    page.wait(f"{BELOW} <= 0")
    assert page.run(f"{LATEST}.hidden")
    page.run("window.scrollTo(0, 0)")
    page.wait(f"!{LATEST}.hidden")
    before = page.run("document.querySelectorAll('details.tool').length")
    page.wait(f"document.querySelectorAll('details.tool').length > {before}", 30)
    assert page.run("scrollY") == 0
    page.click("button", "Jump to latest")
    page.wait(f"{BELOW} <= 0 && {LATEST}.hidden")
    before = page.run("document.querySelectorAll('details.tool').length")
    page.wait(f"document.querySelectorAll('details.tool').length > {before} && {BELOW} <= 0", 30)
    server.post(f"/tasks/{task['id']}/cancel", expect=200)
    status(page, "Cancelled")
    assert page.run("document.querySelectorAll('.notice').length") == 0  # who looks needs no message


def test_a_server_that_is_gone_is_said_and_found_again(page: Page, server: Server):
    task = server.dispatch(bash("sleep 3; echo meanwhile"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("document.querySelector('.tool.running')", 60)
    page.network(offline=True)
    page.wait("!document.querySelector('.away').hidden")
    page.reads("The server does not answer since")
    times = "document.querySelector('.legend').innerText"
    shown = page.run(times)
    server.wait(task["id"])
    page.browser.listen(2.5)
    assert page.run(times) == shown  # no clock goes on for what is not known
    assert page.run("getComputedStyle(document.querySelector('.badge.running'), '::before').animationName") == "none"
    page.network()
    page.wait("document.querySelector('.away').hidden", 5)
    status(page, "Finished")
    page.faults.clear()


def test_a_list_whose_server_is_gone_says_so_too(page: Page):
    page.network(offline=True)
    page.wait("!document.querySelector('.away').hidden")
    page.visit("#/agents", "The server does not answer.")
    page.network()
    page.reads("Document analysis")  # drawn by itself
    page.faults.clear()


def test_the_page_says_that_an_image_is_fetched(open_page: Callable[[Server], Page], own_server: Server):
    container = own_server.post("/containers", {"name": "Away", "containerImage": "localhost/never-there:1"})
    defaults = {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60}
    body = {"name": "Away", "basePrompt": "x", "containerId": container["id"], "defaults": defaults}
    agent = own_server.post("/agents", body)
    task = own_server.dispatch("Wait for the image", agent=agent["id"])
    own_server.wait(task["id"])
    page = open_page(own_server)
    sign_in(page, own_server)
    page.visit(f"#/tasks/{task['id']}", "Error")
    page.reads("Pulling image localhost/never-there:1")


def test_the_instructions_are_shown_however_long_the_transcript_is_and_places_in_it_are_found(
    page: Page, server: Server
):
    calls = [*(f"echo call {n}" for n in range(218)), "ls not-there", "echo after"]
    task = server.run("The very first words\n" + bash(*calls))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.reads("The very first words")
    tools = "document.querySelectorAll('details.tool').length"
    assert page.run(tools) < 218
    page.fill("Find in the transcript", "call 3", role="searchbox")
    page.press("Enter")
    page.wait("document.querySelector('.entry.found')?.innerText.includes('The very first words')")
    assert page.run("document.querySelector('.count').innerText").startswith("1 of ")
    page.press("Enter")
    page.wait("document.querySelector('.entry.found .tool-line')?.innerText === 'echo call 3'")
    assert page.run(tools) >= 215  # those that were hidden
    box = "document.querySelector('.entry.found').getBoundingClientRect()"
    assert page.run(f"{box}.top >= 0 && {box}.bottom <= innerHeight")
    page.click("button", "First failure")
    page.wait("document.querySelector('.entry.found .tool.failed')?.open")
    assert page.run(f"{box}.top >= 0 && {box}.top <= innerHeight")


def test_the_title_of_the_tab_says_how_the_task_stands(page: Page, server: Server):
    task = server.dispatch("Look elsewhere\n" + bash("sleep 2"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("document.title.startsWith('… Look elsewhere')")
    page.wait("document.title.startsWith('✓ Look elsewhere')", 60)


def test_a_server_that_was_killed_is_missed_at_once_and_followed_again_when_it_is_back(
    open_page: Callable[[Server], Page], own_server: Server
):
    talk = own_server.converse("```say\nHello\n```")
    own_server.answered(talk["id"], 1)
    page = open_page(own_server)
    sign_in(page, own_server)
    page.visit(f"#/tasks/{talk['id']}", "Transcript")
    status(page, "Your turn")
    page.browser.listen(1)  # its stream is open
    with own_server.process:
        own_server.process.kill()
    page.wait("!document.querySelector('.away').hidden", 5)
    again(own_server)
    page.wait("document.querySelector('.away').hidden", 5)
    own_server.say(talk["id"], "Are you back?\n```say\nI am\n```")
    page.wait("[...document.querySelectorAll('.said.agent')].at(-1)?.innerText.includes('I am')", 60)
    page.faults.clear()


CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}


def test_a_model_that_is_waited_for_or_tried_again_is_said(
    open_page: Callable[[Server], Page],
    provided: Server,  # noqa: F811
    provider: FakeProvider,  # noqa: F811
):
    provider.plan(Fails(529), Silent())
    task = provided.dispatch("Nothing to do", **CLAUDE)
    page = open_page(provided)
    sign_in(page, provided)
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("/trying again in .* s .retry 1./.test(document.body.innerText)", 60)
    waiting = "/Waiting for the model, [1-9]/.test(document.body.innerText)"
    page.wait(waiting, 60)
    page.go("/")
    page.visit(f"#/tasks/{task['id']}", "Transcript")  # as it is found later
    page.wait(waiting)
    provided.post(f"/tasks/{task['id']}/cancel", expect=200)
    page.wait(f"!{waiting}")


def again(server: Server) -> None:
    """Starts it where it was."""
    port = server.url.rpartition(":")[2]
    command = [*server.command, "serve", "--port", port, "--data", str(server.data)]
    environ = {**os.environ, "AGENTCONTAINER_API_KEY": server.key, **server.settings}
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ)
    assert next(line for line in server.process.stdout if "is ready at" in line)
