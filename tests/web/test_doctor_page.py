"""The table of the doctor in the browser: checks of the machine with the commands that fix them, and the proof."""

import threading
from collections.abc import Callable
from pathlib import Path

from tests.system.conftest import Server, serving
from tests.system.test_isolation import everything_but
from tests.web.browser import Page
from tests.web.conftest import sign_in

WRONG = "What is missing or limited"


def rows(page: Page, caption: str) -> dict[str, tuple[str, str]]:
    """State and what was seen, by name; folded ones too."""
    page.run("document.querySelectorAll('details.fold').forEach((fold) => { fold.open = true })")
    table = f"[...document.querySelectorAll('table.doctor')].find((table) => table.caption.innerText === '{caption}')"
    cells = page.run(f"[...{table}.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.innerText))")
    return {name: (state, seen) for state, name, seen in cells}


def test_what_is_missing_is_shown_with_the_command_that_mends_it(open_page: Callable[[Server], Page], tmp_path: Path):
    programs = Path(everything_but("runsc", tmp_path / "bin"))
    with serving(tmp_path / "data", PATH=str(programs)) as server:
        page = open_page(server)
        sign_in(page, server)
        page.visit("#/account", "Tasks can run here.")
        state, seen = rows(page, WRONG)["gVisor"]
        assert state == "limited" and "sudo apt-get install runsc" in seen
        assert {"newuidmap", "storage"} <= set(rows(page, "What is in order"))
        assert not page.named("button", "Copy the command for newuidmap")

        kept = (programs / "newuidmap").readlink()
        (programs / "newuidmap").unlink()
        page.visit("#/tasks", "No tasks yet")
        page.visit("#/account", "Tasks can't run here")
        state, seen = rows(page, WRONG)["newuidmap"]
        assert state == "missing"
        assert "sudo apt-get install --no-install-recommends uidmap" in seen
        assert page.run("document.querySelector('table.doctor .badge').innerText") == "missing"  # worst first
        assert page.at(page.one("button", "Test the security promises"), "function() { return this.disabled }")
        page.click("button", "Copy the command for newuidmap")
        page.reads("Copied")
        (programs / "newuidmap").symlink_to(kept)


def test_the_walls_are_proven_from_the_page_while_it_says_what_is_being_tried(
    open_page: Callable[[Server], Page], own_server: Server
):
    page = open_page(own_server)
    sign_in(page, own_server)
    page.visit("#/account", "Tasks can run here.")
    page.click("button", "Test the security promises")
    page.wait("!document.querySelector('.proving').hidden")
    page.wait("/Trying|Taking/.test(document.querySelector('.proving [role=status]').innerText)")
    page.wait("document.querySelector('.proving').hidden", 120)
    page.reads("All security promises are enforced.")
    promises = own_server.get("/doctor")["proof"]["promises"]
    words = {"enforced": "enforced", "not_enforced": "not enforced", "unavailable": "not possible here"}
    found = rows(page, "Security promises")
    assert {one["name"]: found[one["name"]][0] for one in promises} == {
        one["name"]: words[one["status"]] for one in promises
    }
    held = sum(one["status"] == "enforced" for one in promises)
    page.reads(f"{held} of {len(promises)} promises hold")


def test_a_proof_of_somebody_elses_is_watched_and_one_that_fails_says_why(
    open_page: Callable[[Server], Page], own_server: Server
):
    page = open_page(own_server)
    sign_in(page, own_server)
    proving = threading.Thread(target=own_server.post, args=("/doctor",), kwargs={"expect": 200})
    proving.start()
    page.visit("#/account", "Tasks can run here.")
    page.wait("document.querySelector('.proving') && !document.querySelector('.proving').hidden")
    page.wait("document.querySelector('.proving').hidden", 120)
    page.reads("promises hold")
    proving.join()
    page.network(offline=True)
    page.click("button", "Test the security promises")
    page.reads("The server does not answer.")
    page.wait("document.querySelector('.proving').hidden")
    page.network()
    page.faults.clear()
