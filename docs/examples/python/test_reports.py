"""The application's tests. No container is started, no model is called, and nothing costs anything."""

from collections.abc import Iterator

import httpx
import pytest
from reports import Questions, ReportFailed, Reports, TooExpensive

from agentcontainer_local.testing import Server, fail, finish, say, tool, wait

SALES = b"region,amount\nnorth,10\nsouth,32\nnorth,5\n"
REPORT = "| region | total |\n|---|---|\n| north | 15 |\n| south | 32 |\n"


@pytest.fixture
def reports(agentcontainer: Server) -> Iterator[Reports]:
    reports = Reports(agentcontainer.url, agentcontainer.key, pause=0.01)
    yield reports
    reports.close()


def test_a_report_comes_back_as_a_file(reports: Reports, agentcontainer: Server):
    agentcontainer.script(
        say("I add up the regions."),
        tool("python3 summarise.py task_files/sales.csv", output="2 regions\n"),
        finish("South sold most.", files={"report.md": REPORT.encode()}),
    )
    report = reports.make(SALES)
    assert (report.summary, report.text, report.complete) == ("South sold most.", REPORT, True)


def test_the_agent_gets_the_sales_as_they_are(reports: Reports, agentcontainer: Server):
    agentcontainer.script(tool("cat task_files/sales.csv"), finish(files={"report.md": b"-"}))
    task_id = reports.order(SALES)
    reports.fetch(task_id)
    printed = [event.data.get("output") for event in agentcontainer.client.list_events(task_id)]
    assert SALES.decode() in printed


def test_a_report_that_is_not_complete_says_so(reports: Reports, agentcontainer: Server):
    agentcontainer.script(finish("One region is missing.", files={"report.md": b"..."}, incomplete=True))
    assert not reports.make(SALES).complete


@pytest.mark.parametrize("fault", [500, 503, "dropped", "dropped_after"])
def test_an_order_is_repeated_after_a_failure_and_carried_out_once(reports: Reports, agentcontainer: Server, fault):
    agentcontainer.script(finish(files={"report.md": REPORT.encode()}))
    planned = agentcontainer.faults.http(fault, times=2, path="/agents/*/tasks")
    assert reports.make(SALES).text == REPORT
    assert planned.happened == 2
    assert len(list(agentcontainer.client.list_tasks())) == 1


def test_a_server_that_is_down_is_told_after_four_attempts(reports: Reports, agentcontainer: Server):
    planned = agentcontainer.faults.http(503, times=9)
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        reports.make(SALES)
    assert planned.happened == 4


def test_an_agent_whose_model_refuses_gives_no_report(reports: Reports, agentcontainer: Server):
    agentcontainer.script(fail("This model does not read sales."))
    with pytest.raises(ReportFailed, match="does not read sales"):
        reports.make(SALES)


def test_a_report_that_costs_too_much_is_given_up(reports: Reports, agentcontainer: Server):
    agentcontainer.script(*[tool("python3 think.py", output="x" * 40_000)] * 20, finish())
    with pytest.raises(TooExpensive):
        reports.make(SALES, max_cost_usd=0.10)


def test_an_order_can_be_cancelled(reports: Reports, agentcontainer: Server):
    agentcontainer.script(wait(3600), finish())
    task_id = reports.order(SALES)
    reports.cancel(task_id)
    with pytest.raises(ReportFailed, match="cancelled"):
        reports.fetch(task_id)


def test_questions_are_one_conversation(reports: Reports, agentcontainer: Server):
    agentcontainer.script([say("South.")], [say("By 17.")])
    questions = Questions(reports, REPORT)
    assert questions.ask("Who sold most?") == "South."
    assert questions.ask("By how much?") == "By 17."
    assert len(list(agentcontainer.client.list_tasks())) == 1


def test_a_conversation_of_last_week_has_expired_and_a_new_one_begins(reports: Reports, agentcontainer: Server):
    agentcontainer.script([say("South.")])
    questions = Questions(reports, REPORT)
    questions.ask("Who sold most?")
    agentcontainer.clock.advance("7d")
    assert questions.ask("And in the north?") == "South."
    assert sorted(task.status for task in agentcontainer.client.list_tasks()) == ["awaiting_input", "expired"]
