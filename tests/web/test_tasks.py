"""Tasks in the browser: dispatched, watched, talked with, woken, cancelled, run again."""

import json
from pathlib import Path

from tests.system.conftest import Server, wait_until
from tests.system.test_main_job import bash
from tests.web.browser import CTRL, Page

BADGE = "document.querySelector('.under .badge').innerText"


def dispatch(page: Page, instructions: str) -> str:
    """Fills in the form and sends it; answers the task's id."""
    page.visit("#/new", "Instructions")
    page.choose("Agent", "Coding")
    page.fill("Instructions", instructions)
    page.fill("Model", "scripted")
    page.click("button", "Dispatch")
    page.wait("location.hash.startsWith('#/tasks/tsk_')")
    page.reads("Transcript")
    return page.run("location.hash.slice(8)")


def status(page: Page, words: str) -> None:
    page.wait(f"{BADGE} === {json.dumps(words)}", 60)


def test_a_task_is_dispatched_with_a_dropped_file_watched_live_and_its_files_are_seen(
    page: Page, server: Server, tmp_path: Path
):
    numbers = tmp_path / "numbers.csv"
    numbers.write_text('name,value\nfirst,1\n"second, quoted",2\n')
    page.visit("#/new", "Instructions")
    page.choose("Agent", "Coding")
    page.drop(".drop", numbers)
    page.reads("numbers.csv")
    page.fill(
        "Instructions",
        "Copy the table.\n"
        + bash(
            "cp task_files/numbers.csv copy.csv; echo copied; sleep 3",
            "echo '# All *well*' > notes.md",
            finish='--complete-task --message "Copied it all" copy.csv notes.md',
        ),
    )
    page.fill("Model", "scripted")
    page.click("button", "Dispatch")
    page.heading("Copy the table.")
    loads = page.run("performance.getEntriesByType('navigation').length + performance.timeOrigin")
    page.wait("document.querySelector('.tool.running .tool-line')?.innerText.startsWith('cp task_files')", 60)
    status(page, "Running")
    page.reads("at work")
    status(page, "Finished")
    page.reads("Copied it all")
    page.wait("document.querySelectorAll('details.tool.completed').length === 3")
    assert page.run("performance.getEntriesByType('navigation').length + performance.timeOrigin") == loads

    assert not page.run("document.querySelector('details.tool').open")
    page.run("document.querySelector('details.tool summary').click()")
    page.reads("copied")
    for phase in ("waiting", "starting", "thinking", "tools"):
        assert page.run(f"document.querySelector('.legend [data-phase={phase}] strong').innerText") != "0 ms", phase
    assert page.run("[...document.querySelectorAll('.chart rect.input')].some((bar) => bar.height.baseVal.value > 0)")
    calls = server.get(f"/tasks/{page.run('location.hash.slice(8)')}/model-calls", order="asc")["data"]
    assert page.run("document.querySelectorAll('.chart g').length") == len(calls) >= 3
    said = page.run("document.querySelector('.chart').getAttribute('aria-label')")
    assert said.startswith(f"{len(calls)} model calls from ")
    page.click("button", "Model calls")
    cells = "[...document.querySelector('dialog tbody tr').cells].map((cell) => cell.innerText)"
    figures = [f"{calls[0][kind + 'Tokens']:,}" for kind in ("input", "cacheRead", "cacheWrite", "output")]
    assert page.run(cells)[2:] == ["scripted", *figures, "$0", "completed"]
    page.press("Escape")

    assert page.run("document.querySelector('.chip').innerText") == "numbers.csv"
    page.click("button", "copy.csv")
    page.wait("document.querySelectorAll('dialog table.data tbody tr').length === 2")
    assert page.run("document.querySelector('dialog tbody tr:last-child td').innerText") == "second, quoted"
    page.press("Escape")
    page.click("button", "notes.md")
    page.wait("document.querySelector('dialog .level-1 em')?.innerText === 'well'")
    page.press("Escape")
    page.downloads(tmp_path / "down")
    page.click("button", "Download copy.csv")
    wait_until(lambda: (tmp_path / "down" / "copy.csv").exists(), 10)
    assert (tmp_path / "down" / "copy.csv").read_bytes() == numbers.read_bytes()


def test_what_a_command_prints_is_shown_while_it_runs(page: Page, server: Server):
    dispatch(page, bash("echo early; sleep 4; echo late"))
    page.wait("document.querySelector('pre.live')?.innerText === 'early'", 60)
    status(page, "Finished")
    page.wait("document.querySelector('pre.live') === null")
    page.run("document.querySelector('details.tool summary').click()")
    page.reads("late")


def test_the_list_of_tasks_is_live(page: Page, server: Server):
    task = server.dispatch("Shown in the list\n" + bash("sleep 3"))
    row = f"document.querySelector('tr[data-key={task['id']}]')"
    page.wait(f"{row}?.innerText.includes('Running')", 60)
    page.wait(f"{row}.innerText.includes('Finished')", 60)
    cells = page.run(f"[...{row}.cells].map((cell) => cell.innerText)")
    assert cells[1:3] == ["Shown in the list", "Coding"]
    assert all(cells[3:7]) and cells[4].startswith("$"), cells
    page.visit("#/tasks?status=expired", "No task has the status “Expired”")
    page.choose("Status", "Finished")
    page.reads("Shown in the list")


def test_an_image_is_shown_and_the_page_lets_it_go(page: Page, server: Server):
    dot = "R0lGODlhAQABAIAAAAAAAP///yH5BAAAAAAALAAAAAABAAEAAAIBRAA7"
    task = server.run(bash(f"echo {dot} | base64 -d > dot.gif", finish="--complete-task --message Done dot.gif"))
    page.visit(f"#/tasks/{task['id']}", "dot.gif")
    page.click("button", "dot.gif")
    page.wait("document.querySelector('dialog img')?.naturalWidth === 1")
    url = page.run("document.querySelector('dialog img').src")
    assert url.startswith("blob:")
    page.click("button", "Close")
    page.wait("!document.querySelector('dialog')")
    assert page.run(f"fetch({json.dumps(url)}).then(() => 'there', () => 'gone')") == "gone"
    page.faults.clear()


def test_a_conversation_is_held(page: Page, server: Server, tmp_path: Path):
    given = tmp_path / "given.txt"
    given.write_text("from the user\n")
    page.visit("#/new", "Instructions")
    page.choose("Agent", "Coding")
    page.click("radio", "A conversation The agent answers each message.")
    page.fill("Instructions", "You are brief.")
    page.fill("First message", "Hello\n```say\nGood day to **you**\n```")
    page.fill("Model", "scripted")
    page.click("button", "Dispatch")
    page.wait("document.querySelector('.said.agent strong')?.innerText === 'you'", 60)
    status(page, "Your turn")
    page.drop(".composer .drop", given)
    page.reads("given.txt")
    page.fill("Message", "Read it\n" + bash("cat task_files/given.txt | tee back.txt; attach back.txt"))
    page.press("Enter", CTRL)
    page.wait("[...document.querySelectorAll('.said.agent .prose')].at(-1).innerText.includes('from the user')", 60)
    status(page, "Your turn")
    assert page.run("document.querySelector('.composer textarea').value") == ""
    page.wait("document.querySelectorAll('.chart g').length >= 3")
    page.click("button", "Model calls")
    turns = "[...document.querySelectorAll('dialog tbody tr')].map((row) => row.cells[2].innerText).join()"
    assert page.run(turns).startswith("1,2,2")
    page.press("Escape")
    page.click("button", "given.txt")
    page.wait("document.querySelector('dialog pre')?.innerText === 'from the user\\n'")
    page.press("Escape")
    page.wait("document.querySelector('.files').innerText.includes('back.txt')")
    page.click("button", "Cancel")
    page.click("button", "Cancel the task")
    status(page, "Cancelled")
    assert page.run("document.querySelector('.composer').hidden")


def test_a_conversation_is_left_to_finish_by_itself(page: Page, server: Server):
    task = server.post(
        "/agents/agt_standard_coding/conversations",
        {
            "instructions": "Be brief.",
            "message": "```say\nReady\n```",
            "overrides": {"model": "scripted"},
        },
    )["task"]
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    status(page, "Your turn")
    page.click("button", "Let it finish")
    page.reads("It takes no more messages")
    page.run("document.querySelector('dialog form').requestSubmit()")
    status(page, "Finished")
    assert server.get(f"/tasks/{task['id']}")["mode"] == "autonomous"
    labels = "[...document.querySelectorAll('.who')].map((one) => one.firstChild.textContent)"
    for _ in range(2):  # as it was followed, and as it is found later
        assert page.run(labels)[:2] == ["Instructions", "You"]
        page.go("/")
        page.visit(f"#/tasks/{task['id']}", "Transcript")
        status(page, "Finished")


def test_a_sleeping_agent_is_woken_with_a_message(page: Page, server: Server):
    id = dispatch(page, "Sleep first.\n" + bash("hibernate --for 1h --message 'Until told'", "echo awake again"))
    status(page, "Asleep")
    page.reads("Nothing is running, and nothing is charged.")
    page.click("button", "Wake")
    page.fill("Message (optional)", "Go on, please")
    page.click("button", "Wake")
    status(page, "Finished")
    page.reads("Go on, please")
    page.wait("document.querySelector('.legend').innerText.includes('Asleep')")
    assert "awake again" in server.said(id)


def test_a_running_task_is_cancelled_after_a_question(page: Page, server: Server):
    id = dispatch(page, "Wait long.\n" + bash("sleep 600"))
    status(page, "Running")
    page.click("button", "Cancel")
    page.reads("Cancel this task?")
    page.click("button", "Close")
    assert server.get(f"/tasks/{id}")["status"] == "running"
    page.click("button", "Cancel")
    page.click("button", "Cancel the task")
    status(page, "Cancelled")
    assert server.get(f"/tasks/{id}")["status"] == "cancelled"
    assert page.named("button", "Cancel") == []


def test_a_task_is_run_again_as_it_was(page: Page, server: Server):
    policy = {"mode": "named", "files": [{"name": "report", "description": "What was found."}]}
    file = server.upload("again.txt", b"again")
    first = server.run(
        "Again\n" + bash("true"),
        files=[file],
        maxRuntimeSeconds=77,
        outputPolicy=policy,
        internetAccess=False,
        allowedHosts=["example.org", "*.example.net:8443"],
        maxCostUsd=0.25,
        maxTokens=12345,
        limits={"processes": 333},
        isolation="container",
        runtimeRegion="any",
    )
    page.visit(f"#/tasks/{first['id']}", "Run again")
    page.click("link", "Run again")
    page.heading("Run again")
    page.reads("Copied: runtimeRegion, limits, isolation")
    page.click("button", "Dispatch")
    page.wait(f"/^#.tasks.tsk_/.test(location.hash) && location.hash !== '#/tasks/{first['id']}'")
    again = server.get(f"/tasks/{page.run('location.hash.slice(8)')}")
    assert (again["instructions"], again["overrides"]) == (first["instructions"], first["overrides"])
    assert [given["id"] for given in server.get(f"/tasks/{again['id']}/messages")["data"][-1]["files"]] == [file]
    server.wait(again["id"])
    page.reads("of $0.2500")
    page.reads("of 12k")


def test_what_the_server_refuses_is_said_and_nothing_is_lost(page: Page, server: Server):
    page.visit("#/new", "Instructions")
    page.fill("Instructions", "Think.")
    page.fill("Maximum run time (seconds)", "10", role="spinbutton")
    page.fill("Wrap up after (seconds)", "20", role="spinbutton")
    page.click("button", "Dispatch")
    page.reads("must be less than maxRuntimeSeconds")
    assert page.run("document.querySelector('textarea').value") == "Think."
    page.faults.clear()  # the 422 itself


def test_a_page_that_was_cut_off_catches_up(page: Page, server: Server):
    task = server.dispatch(bash("sleep 2; echo meanwhile"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    status(page, "Running")
    page.network(offline=True)
    server.wait(task["id"])
    page.browser.listen(1)
    assert page.run(BADGE) == "Running"
    page.network()
    status(page, "Finished")
    page.wait("document.querySelector('details.tool .output')?.textContent === 'meanwhile\\n'")
    page.faults.clear()  # the connections that failed meanwhile


def test_a_tab_that_nobody_sees_holds_no_stream_and_catches_up_when_seen(page: Page, server: Server):
    task = server.dispatch(bash("sleep 2"))
    page.visit(f"#/tasks/{task['id']}", "Transcript")
    status(page, "Running")
    hide = (
        "Object.defineProperty(document, 'hidden', {{value: {}, configurable: true}});"
        " document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.run(hide.format("true"))
    server.wait(task["id"])
    page.browser.listen(2.5)
    assert page.run(BADGE) == "Running"
    page.run(hide.format("false"))
    status(page, "Finished")


def test_a_slow_upload_shows_how_far_it_is_and_may_be_taken_back(page: Page, server: Server, tmp_path: Path):
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(2_000_000))
    page.visit("#/new", "Instructions")
    page.network(upload_bytes_per_second=400_000)
    page.drop(".drop", large)
    page.wait("((bar) => bar && bar.value > 0.1 && bar.value < 0.9)(document.querySelector('progress'))")
    page.click("button", "Remove large.bin")
    page.network()
    page.wait("!document.querySelector('.uploads li')")
    page.drop(".drop", large)
    page.reads("large.bin")
    page.wait("!document.querySelector('progress')")
    assert "large.bin" in [file["filename"] for file in server.get("/files")["data"]]
    page.drop("h1", large)
    page.browser.listen(0.3)
    page.heading("New task")
    page.faults.clear()  # the upload that was stopped


def test_the_calls_of_a_long_task_are_gathered_in_the_chart_and_each_is_in_the_table(page: Page, server: Server):
    task = server.run(bash(finish="--complete-task --message Done"))
    made = server.get(f"/tasks/{task['id']}")["tokenUsage"]["calls"]
    server.execute(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1300)"
        " INSERT INTO model_calls (account_id, task_id, provider, model, input_tokens, output_tokens, cost_microusd,"
        " status, estimated, counted_microusd, counted_tokens, created_at, ended_at)"
        " SELECT account_id, id, 'anthropic', 'm', n, 7, 1000, 200, n = 1300, 0, 0, created_at, created_at"
        " FROM tasks, n WHERE id = ?",
        task["id"],
    )
    page.visit(f"#/tasks/{task['id']}", "Model calls")
    bars = page.run("document.querySelectorAll('.chart g').length")
    assert 30 < bars <= 60
    assert page.run("document.querySelectorAll('.chart polyline.spent').length") == 1
    assert page.run("document.querySelectorAll('.chart g.estimated').length") == 1
    said = page.run("document.querySelector('.chart').getAttribute('aria-label')")
    assert said.startswith(f"{1300 + made} model calls") and said.endswith("; $1.30 in all")
    page.click("button", "Model calls")
    rows = "document.querySelector('dialog table').tBodies[0].rows"
    assert page.run(f"{rows}.length") == 1300 + made
    last = page.run(f"[...{rows}[{1300 + made - 1}].cells].map((cell) => cell.innerText)")
    assert last[2:] == ["m", "≈ 1,300", "0", "0", "≈ 7", "≈ $0.0010", "completed"]
