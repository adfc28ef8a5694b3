"""What a failed task left behind, in the page."""

from pathlib import Path

from tests.system.conftest import wait_until
from tests.system.test_main_job import bash
from tests.system.test_workspaces import listed, server  # noqa: F401 - a server that keeps it
from tests.web.browser import Page


def test_the_files_of_a_failed_task_are_listed_and_downloaded(page: Page, server, tmp_path: Path):  # noqa: F811
    task = server.dispatch(bash("mkdir deep; echo kept > deep/work.txt; sleep 60"), maxRuntimeSeconds=4)
    server.wait(task["id"])
    wait_until(lambda: listed(server, task["id"]), 30)
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    page.click("button", "Workspace")
    page.reads("deep/work.txt")
    page.downloads(tmp_path / "down")
    page.click("button", "Download deep/work.txt")
    wait_until(lambda: (tmp_path / "down" / "work.txt").exists(), 10)
    assert (tmp_path / "down" / "work.txt").read_text() == "kept\n"
