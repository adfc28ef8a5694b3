"""Agents, containers and the account in the browser; and what empty places say."""

from collections.abc import Callable
from pathlib import Path

from tests.system.conftest import Server
from tests.web.browser import Page
from tests.web.conftest import sign_in


def test_two_versions_of_an_agent_are_compared(page: Page, server: Server):
    page.visit("#/agents/agt_standard_coding", "Versions")
    page.reads("Tasks keep the version that they began with.")
    page.click("button", "Fork")
    page.fill("Name", "Mine")
    page.press("Enter")
    page.heading("Mine")
    page.click("button", "Edit")
    page.wait("document.querySelector('dialog textarea')")
    page.run("document.querySelector('dialog textarea').value += '\\nSay less.'")
    page.fill("Model", "scripted")
    page.click("button", "Save")
    page.reads("Version 2")
    assert page.run("document.querySelector('.diff .added').innerText").endswith("Say less.")
    assert page.run("document.querySelectorAll('.diff .removed').length") == 0
    rows = "[...document.querySelectorAll('.changes tbody tr')]"
    changed = f"{rows}.map((row) => [...row.cells].map((cell) => cell.innerText))"
    assert page.run(changed) == [["Model", "claude-sonnet-4-5", "scripted"]]
    page.choose("From", "Version 2")
    page.reads("These are the same version.")
    page.choose("to", "Version 1")
    assert page.run(changed) == [["Model", "scripted", "claude-sonnet-4-5"]]
    page.click("button", "Archive")
    page.reads("Archive Mine?")
    page.click("button", "Archive")
    page.wait("[...document.querySelectorAll('.tag')].some((tag) => tag.innerText === 'archived')")


def test_every_option_of_an_agents_version_is_compared(page: Page, server: Server):
    agent = server.post("/agents/agt_standard_coding/fork", {"name": "Limited"})
    defaults = {"allowedHosts": ["example.org"], "maxCostUsd": 2, "maxTokens": 50_000, "limits": {"memoryMb": 512}}
    server.client.patch(f"/api/v1/agents/{agent['id']}", json={"defaults": defaults}).raise_for_status()
    page.visit(f"#/agents/{agent['id']}", "What changed")
    rows = "[...document.querySelectorAll('.changes tbody tr')]"
    cells = page.run(f"{rows}.map((row) => [...row.cells].map((cell) => cell.innerText))")
    changed = {name: after for name, _, after in cells}
    assert "Prompt, line by line" not in page.text()
    assert changed == {
        "Allowed hosts": "example.org",
        "Maximum cost of model calls": "$2.00",
        "Maximum tokens": "50,000",
        "Limits": "memoryMb 512",
    }


def test_a_change_of_the_prompt_alone_is_not_called_no_change(page: Page, server: Server):
    agent = server.post("/agents/agt_standard_coding/fork", {"name": "Reworded"})
    server.client.patch(f"/api/v1/agents/{agent['id']}", json={"basePrompt": "Say less."}).raise_for_status()
    page.visit(f"#/agents/{agent['id']}", "What changed")
    page.reads("Prompt, line by line")
    shown = page.run("document.querySelector('.comparison').innerText")
    assert "Say less." in shown and "othing" not in shown


def test_the_months_budget_is_set_and_taken_away(page: Page, server: Server):
    page.visit("#/account", "Budget")
    page.click("button", "Set the budget")
    page.fill("Cost in a month (USD)", "12.5", role="spinbutton")
    page.fill("Tokens in a month", "1000000", role="spinbutton")
    page.click("button", "Save")
    page.reads("of $12.50")
    found = server.get("/account/budget")
    assert (found["maxCostUsd"], found["maxTokens"]) == (12.5, 1_000_000)
    page.click("button", "Set the budget")
    page.fill("Cost in a month (USD)", "", role="spinbutton")
    page.fill("Tokens in a month", "", role="spinbutton")
    page.click("button", "Save")
    page.wait("!document.body.innerText.includes('of $12.50')")
    found = server.get("/account/budget")
    assert (found["maxCostUsd"], found["maxTokens"]) == (None, None)


def test_a_container_is_made_and_its_versions_are_compared(page: Page, server: Server):
    page.visit("#/containers", "Containers")
    page.click("button", "New container")
    page.fill("Name", "Debian")
    page.click("button", "Make it")  # an image is needed, or a preset
    assert page.run("document.querySelector('dialog input:invalid').labels[0].innerText") == "Image"
    page.choose("Preset", "coding")
    page.wait("!document.querySelector('dialog').innerText.includes('Image')")
    page.choose("Preset", "An image of my own")
    page.fill("Image", "docker.io/library/debian:12")
    page.click("button", "Make it")
    page.heading("Debian")
    page.click("button", "Edit")
    page.fill("Image", "docker.io/library/debian:13")
    page.click("button", "Save")
    page.reads("What changed")
    assert page.run("document.querySelector('.changes del').innerText") == "docker.io/library/debian:12"
    assert page.run("document.querySelector('.changes ins').innerText") == "docker.io/library/debian:13"


def test_an_agent_is_made(page: Page, server: Server):
    page.visit("#/agents", "Agents")
    page.click("button", "New agent")
    page.fill("Name", "Fresh")
    page.fill("Prompt", "Be quick.")
    page.fill("Model", "scripted")
    page.click("button", "Make it")
    page.heading("Fresh")
    made = server.get(f"/agents/{page.run('location.hash.slice(9)')}")
    assert (made["name"], made["currentVersion"]["basePrompt"]) == ("Fresh", "Be quick.")


def test_an_agent_is_made_with_hosts_and_budgets_which_are_taken_away_again(page: Page, server: Server):
    page.visit("#/agents", "Agents")
    page.click("button", "New agent")
    page.fill("Name", "Thrifty")
    page.fill("Model", "scripted")
    page.fill("Weak model", "lighter")
    page.fill("Allowed hosts", "example.org, *.example.org:8443")
    page.fill("Maximum cost of model calls (USD)", "2.5", role="spinbutton")
    page.fill("Maximum tokens", "50000", role="spinbutton")
    page.choose("Required files", "Named files")
    page.fill("Names of the files", "report, data")
    page.click("button", "Make it")
    page.heading("Thrifty")
    path = f"/agents/{page.run('location.hash.slice(9)')}"
    made = server.get(path)["currentVersion"]["defaults"]
    assert (made["allowedHosts"], made["internetAccess"]) == (["example.org", "*.example.org:8443"], False)
    assert (made["maxCostUsd"], made["maxTokens"], made["weakModel"]) == (2.5, 50_000, "lighter")
    assert made["outputPolicy"] == {"mode": "named", "files": [{"name": "report"}, {"name": "data"}]}
    page.click("button", "Edit")
    page.fill("Maximum cost of model calls (USD)", "", role="spinbutton")
    page.fill("Weak model", "")
    page.choose("Internet access", "Yes")
    page.wait("!document.querySelector('dialog').innerText.includes('Allowed hosts')")
    page.click("button", "Save")
    page.reads("Version 2")
    changed = {"maxCostUsd": None, "weakModel": None, "internetAccess": True, "allowedHosts": []}
    assert server.get(path)["currentVersion"]["defaults"] == {**made, **changed}


def test_reference_files_are_dropped_on_an_agent_seen_and_taken_away(page: Page, server: Server, tmp_path: Path):
    agent = server.post("/agents/agt_standard_coding/fork", {"name": "With files"})
    guide = tmp_path / "guide.md"
    guide.write_text("# Say *little*\n")
    page.visit(f"#/agents/{agent['id']}", "Reference files")
    page.drop(".drop", guide)
    page.click("button", "Attach")
    page.click("button", "guide.md")
    page.wait("document.querySelector('dialog .level-1 em')?.innerText === 'little'")
    page.press("Escape")
    files = f"/agents/{agent['id']}/reference-files"
    assert [file["filename"] for file in server.get(files)["data"]] == ["guide.md"]
    page.click("button", "Detach guide.md")
    page.wait("!document.body.innerText.includes('guide.md')")
    assert server.get(files)["data"] == []


def test_keys_are_made_shown_once_and_revoked(page: Page, server: Server):
    page.visit("#/account", "API keys")
    page.click("button", "New key")
    page.fill("Name", "from the page")
    page.click("button", "Make it")
    page.reads("It is shown only once")
    key = page.run("document.querySelector('dialog input').value")
    assert key.startswith("ac_live_")
    page.press("Escape")
    page.reads("from the page")
    assert key not in page.run("document.documentElement.outerHTML")
    page.click("button", "Revoke from the page")
    page.click("button", "Revoke")
    page.wait("[...document.querySelectorAll('tr.gone')].some((row) => row.innerText.includes('from the page'))")


def test_a_key_for_metrics_alone_that_expires_is_made(page: Page, server: Server):
    page.visit("#/account", "API keys")
    page.click("button", "New key")
    page.fill("Name", "scraper")
    page.choose("For", "Only /metrics")
    page.choose("Expires", "After 30 days")
    page.click("button", "Make it")
    page.reads("It is shown only once")
    made = next(key for key in server.get("/keys")["data"] if key["name"] == "scraper")
    assert made["scope"] == "metrics" and made["expiresAt"]
    page.press("Escape")
    page.reads("only /metrics")


def test_a_providers_key_can_be_written_and_not_read(page: Page, server: Server):
    secret = "sk-or-never-shown-again"
    page.visit("#/account", "Model providers")
    page.click("button", "Set openrouter")
    page.fill("API key", secret)
    page.click("button", "Save")
    page.one("button", "Remove openrouter")
    page.click("button", "Set openrouter")
    page.reads("Empty: the key stays as it is.")
    assert page.run("document.querySelector('dialog input[type=password]').value") == ""
    assert secret not in page.run("document.documentElement.outerHTML")
    page.press("Escape")
    page.click("button", "Remove openrouter")
    page.click("button", "Remove")
    page.wait("!document.querySelector('[aria-label=\"Remove openrouter\"]')")
    providers = {one["provider"]: one for one in server.get("/providers")["data"]}
    assert not providers["openrouter"]["hasApiKey"]


def test_empty_places_say_what_to_do_next(open_page: Callable[[Server], Page], own_server: Server):
    page = open_page(own_server)
    sign_in(page, own_server)
    page.reads("No tasks yet")
    page.visit("#/agents", "No agents of your own yet")
    page.visit("#/containers", "No containers of your own yet")
    page.visit("#/account", "No key is set")
    page.visit("#/nowhere", "No tasks yet")
    page.click("link", "Dispatch the first task")
    page.heading("New task")


def test_the_reference_is_a_page_without_scripts_that_links_its_shapes(
    open_page: Callable[[Server], Page], server: Server
):
    page = open_page(server)
    page.go("/docs")
    assert page.run("document.scripts.length") == 0
    links = "[...document.querySelectorAll('a[href^=\"#\"]')].map((link) => link.hash.slice(1))"
    assert page.run(f"{links}.filter((id) => !document.getElementById(id))") == []
    page.click("link", "Dispatch task")
    assert page.run("location.hash") == "#createTask"
    page.reads("/api/v1/agents/{agentId}/tasks")
