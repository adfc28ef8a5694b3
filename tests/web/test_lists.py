"""The list of tasks: searched, filtered, left and come back to, and several cancelled at once."""

import contextlib
import sqlite3
from collections.abc import Callable

import pytest

from tests.system.conftest import Server
from tests.system.test_main_job import bash
from tests.web.browser import Page
from tests.web.conftest import sign_in

TITLES = "[...document.querySelectorAll('.tasks td.task')].map((cell) => cell.innerText)"


@pytest.fixture(scope="module")
def server(simulated: Server) -> Server:
    return simulated


def test_tasks_are_searched_and_filtered(page: Page, server: Server):
    agent = server.post("/agents/agt_standard_coding/fork", {"name": "Searcher"})
    ids = [server.dispatch(f"Needle {n}\n" + bash("true"), agent=agent["id"])["id"] for n in (1, 2)]
    ids.append(server.dispatch("Needle 3\n" + bash("true"))["id"])
    page.go("/")
    page.reads("Needle 3")
    page.fill("Search titles", "needle", role="searchbox")
    page.wait(f"{TITLES}.join() === 'Needle 3,Needle 2,Needle 1'")
    page.choose("Agent", "Searcher")
    page.wait(f"{TITLES}.join() === 'Needle 2,Needle 1'")
    assert page.run("location.hash") == f"#/tasks?search=needle&agent={agent['id']}"
    page.fill("Search titles", "needle in no haystack", role="searchbox")
    page.reads("No task matches")
    page.click("link", "Show all tasks")
    page.wait("document.querySelector('input[type=search]')?.value === ''")
    page.visit(f"#/tasks?agent={agent['id']}", "Needle 2")
    page.wait(f"{TITLES}.length === 2")
    for id in ids:
        server.wait(id)


def test_several_tasks_are_cancelled_at_once(page: Page, server: Server):
    tasks = [server.dispatch(f"Wait {n}\n" + bash("sleep 600"))["id"] for n in range(3)]
    page.visit("#/tasks", "Wait 2")
    page.click("checkbox", "Select Wait 0")
    page.click("checkbox", "Select Wait 2")
    page.reads("2 selected")
    page.browser.listen(2.5)  # the list is asked for again meanwhile
    page.click("button", "Cancel 2 tasks")
    page.click("button", "Cancel them")
    page.wait("!document.querySelector('dialog')")
    assert [server.get(f"/tasks/{id}")["status"] == "cancelled" for id in tasks] == [True, False, True]
    assert page.run("document.querySelector('.chosen').hidden")
    server.post(f"/tasks/{tasks[1]}/cancel", expect=200)


def test_back_comes_to_the_row_that_was_left(open_page: Callable[[Server], Page], own_server: Server):
    server, page = own_server, open_page(own_server)
    sign_in(page, server)
    task = server.run("Many\n" + bash("true"))
    columns = [row["name"] for row in rows_of(server, "PRAGMA table_info(tasks)")]
    copied = [name for name in columns if name not in ("number", "id", "title")]
    server.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 160)"
        f" INSERT INTO tasks (id, title, {', '.join(copied)}) SELECT id || n, 'Row ' || n, {', '.join(copied)}"
        " FROM tasks, n WHERE id = ?",
        task["id"],
    )
    page.visit("#/tasks", "Row 160")
    for _ in range(2):
        shown = page.run(f"{TITLES}.length")
        page.click("button", "Show older ones")
        page.wait(f"{TITLES}.length > {shown}")
    page.click("link", "Row 40")
    page.heading("Row 40")
    assert page.run("scrollY") == 0
    page.run("history.back()")
    page.heading("Tasks")
    page.wait(f"{TITLES}.includes('Row 40')")
    row = "document.querySelector(\".tasks a[title='Row 40']\").getBoundingClientRect()"
    page.wait(f"{row}.top >= 0 && {row}.bottom <= innerHeight", 5)


def rows_of(server: Server, sql: str) -> list[dict]:
    with contextlib.closing(sqlite3.connect(server.data / "agentcontainer.db")) as store:
        store.row_factory = sqlite3.Row
        return [dict(row) for row in store.execute(sql)]


def test_a_long_title_ends_with_an_ellipsis_at_a_words_end(page: Page, server: Server):
    words = "Analyse the sales of the last quarter and write a report that a person in haste can read quickly"
    task = server.run(f"{words}\n" + bash("true"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    title = page.run("document.querySelector('h1').innerText")
    assert title.endswith("…") and words.startswith(f"{title[:-1]} ")
