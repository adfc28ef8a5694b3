"""Signing in and out, and where the key is."""

from collections.abc import Callable

import pytest

from tests.system.conftest import Server
from tests.web.browser import Page

STORED = "JSON.stringify([Object.values({...sessionStorage}), Object.values({...localStorage})])"


@pytest.fixture(scope="module")
def server(simulated: Server) -> Server:
    return simulated


def test_a_wrong_key_is_refused_in_words(open_page: Callable[[Server], Page], server: Server):
    page = open_page(server)
    page.go("/")
    page.fill("API key", "ac_live_wrong")
    page.click("button", "Sign in")
    page.reads("The server does not accept this key.")
    assert page.run(STORED) == "[[],[]]"
    page.faults.clear()  # the 401 itself


def test_the_key_is_kept_in_the_tab_unless_asked_otherwise_and_never_in_a_url(page: Page, server: Server):
    assert page.run(STORED) == f'[["{server.key}"],[]]'
    page.go("/")
    page.heading("Tasks")
    page.visit("#/account", "API keys")
    page.click("button", "Sign out")
    page.heading("Sign in")
    assert page.run(STORED) == "[[],[]]"
    page.fill("API key", server.key)
    page.click("checkbox", "Keep me signed in on this device")
    page.click("button", "Sign in")
    page.heading("Account")
    assert page.run(STORED) == f'[[],["{server.key}"]]'
    assert not [url for url in page.requests if server.key in url]


def test_a_key_that_was_revoked_ends_the_session(open_page: Callable[[Server], Page], server: Server):
    made = server.post("/keys", {"name": "short-lived"})
    page = open_page(server)
    page.go("/")
    page.fill("API key", made["key"])
    page.press("Enter")
    page.heading("Tasks")
    server.client.delete(f"/api/v1/keys/{made['id']}").raise_for_status()
    page.heading("Sign in")
    page.reads("This key is no longer valid.")
    page.faults.clear()


def test_a_link_to_a_task_survives_signing_in(open_page: Callable[[Server], Page], server: Server):
    page = open_page(server)
    page.go("/#/agents/agt_standard_coding")
    page.heading("Sign in")
    page.fill("API key", server.key)
    page.press("Enter")
    page.heading("Coding")


def test_no_url_of_a_stream_has_the_key_in_it(page: Page, server: Server):
    task = server.dispatch("Watch me\n```bash\nsleep 2\n```\n")
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.wait("document.querySelector('.badge').innerText === 'Finished'", 60)
    assert [url for url in page.requests if "stream=true" in url]
    assert not [url for url in page.requests if server.key in url or "apiKey" in url]
