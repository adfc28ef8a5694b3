"""The form of a new task: what it begins with, what it keeps, and what it says before it is sent."""

from pathlib import Path

import pytest

from tests.system.conftest import Server
from tests.system.test_main_job import bash
from tests.web.browser import Page
from tests.web.test_tasks import status

TEXT = "document.querySelector('.dispatch textarea')?.value"


@pytest.fixture(scope="module")
def server(simulated: Server) -> Server:
    return simulated


def test_one_box_starts_a_conversation_that_is_called_by_what_was_said_first(page: Page, server: Server):
    page.visit("#/new", "Instructions")
    assert page.run("document.querySelector('.dispatch select').selectedOptions[0].label") == "Coding"
    page.click("radio", "A conversation The agent answers each message.")
    page.fill("First message", "Good morning\n```say\nGood morning, you\n```")
    page.fill("Model", "scripted")
    page.click("button", "Dispatch")
    page.heading("Good morning")
    page.wait("document.querySelector('.said.agent')?.innerText.includes('Good morning, you')", 60)
    status(page, "Your turn")
    task = server.get(f"/tasks/{page.run('location.hash.slice(8)')}")
    assert (task["mode"], task["title"], task["agentName"]) == ("conversation", "Good morning", "Coding")


def test_what_was_typed_is_kept_until_it_is_dispatched(page: Page, server: Server, tmp_path: Path):
    given = tmp_path / "given.txt"
    given.write_text("kept\n")
    page.visit("#/new", "Instructions")
    page.fill("Instructions", "Typed with care\n" + bash("cat task_files/given.txt"))
    page.fill("Model", "scripted")
    page.fill("Provider key", "sk-not-kept", role="textbox")
    page.drop(".drop", given)
    page.reads("given.txt")
    page.wait("!document.querySelector('progress')")
    page.visit("#/agents", "Document analysis")
    assert "sk-not-kept" not in page.run("JSON.stringify({...sessionStorage}) + JSON.stringify({...localStorage})")
    page.run("history.back()")
    page.wait(f"{TEXT}?.startsWith('Typed with care')")
    page.go("/#/new")
    page.run("location.reload()")
    page.wait(f"document.querySelector('.dispatch') && {TEXT}?.startsWith('Typed with care')")
    page.reads("given.txt")
    page.click("button", "Dispatch")
    page.heading("Typed with care")
    status(page, "Finished")
    assert "kept" in server.said(page.run("location.hash.slice(8)"))
    page.visit("#/new", "Instructions")
    assert page.run(TEXT) == ""


def test_a_draft_can_be_thrown_away_and_a_message_has_one_too(page: Page, server: Server):
    page.visit("#/new", "Instructions")
    page.fill("Instructions", "Never mind")
    page.visit("#/agents", "Document analysis")
    page.visit("#/new", "Discard this draft")
    page.click("button", "Discard this draft")
    page.wait(f"document.querySelector('.dispatch') && {TEXT} === ''")
    talk = server.converse("```say\nYes?\n```")
    server.answered(talk["id"], 1)
    page.visit(f"#/tasks/{talk['id']}", "Transcript")
    page.fill("Message", "Half a sent")
    page.visit("#/tasks", "Your turn")
    page.visit(f"#/tasks/{talk['id']}", "Transcript")
    page.wait("document.querySelector('.composer textarea').value === 'Half a sent'")


def test_a_model_is_chosen_beside_the_agent_and_a_key_is_set_from_there(page: Page, server: Server):
    page.visit("#/new", "Instructions")
    page.reads("No key for anthropic is set.")
    page.click("button", "scripted")
    page.wait("document.querySelector('.models .key').innerText === ''")
    page.fill("Model", "claude-opus-4-5")
    page.reads("No key for anthropic is set.")
    page.click("button", "Set a key")
    page.fill("API key", "sk-ant-for-the-form")
    page.click("button", "Save")
    page.wait("document.querySelector('.models .key').innerText === ''")
    providers = {one["provider"]: one["hasApiKey"] for one in server.get("/providers")["data"]}
    assert providers["anthropic"]
    server.client.delete("/api/v1/providers/anthropic").raise_for_status()


def test_an_upload_that_a_proxy_refuses_names_the_file_and_the_proxy(page: Page, server: Server, tmp_path: Path):
    given = tmp_path / "large.bin"
    given.write_text("x")
    page.visit("#/new", "Instructions")
    page.run("""void (() => {
        const send = XMLHttpRequest.prototype.send;
        window.proxied = true;
        XMLHttpRequest.prototype.send = function (body) {
            if (!window.proxied) return send.call(this, body);
            Object.defineProperty(this, 'status', { value: 413 });
            Object.defineProperty(this, 'responseText', { value: '<html>413 Request Entity Too Large</html>' });
            this.getResponseHeader = () => 'nginx/1.24.0';
            return this.onload();
        } })()""")
    page.drop(".drop", given)
    page.reads("The proxy in front of the server (nginx/1.24.0) lets no file of this size through (413).")
    page.fill("Instructions", "Use it")
    page.click("button", "Dispatch")
    page.reads("large.bin is not uploaded. Try it again, or remove it.")
    page.run("window.proxied = false")
    page.click("button", "Try large.bin again")
    page.wait("!document.querySelector('.uploads .fault') && !document.querySelector('progress')")
    assert "large.bin" in [file["filename"] for file in server.get("/files")["data"]]
