"""Stories that are told at both depths, simulated and with real containers: a client sees the same of each."""

from collections.abc import Callable

import pytest

from agentcontainer_local.testing import Server, attach, die, fail, finish, hibernate, say, tool, wait
from tests.standin.stories import seen

AGENT = "agt_standard_coding"
NAMED = {"mode": "named", "files": [{"name": "summary"}, {"name": "table"}]}
Story = Callable[[Server], str]  # answers the id of its task
STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    STORIES[tell.__name__] = tell
    return tell


def task(ac: Server, instructions: str = "Go.", **overrides) -> str:
    made = ac.client.create_task(AGENT, instructions=instructions, overrides=overrides)
    return ac.client.wait(made.id).id


@story
def tools_and_files(ac: Server) -> str:
    ac.script(
        say("I look."),
        tool("pytest -q", output="3 passed\n"),
        wait(0.01),
        tool("false", output="'no'\n", exit_code=3),
        finish("All green", files={"out/report.txt": b"3 passed", "bytes.bin": bytes(range(256))}),
    )
    return task(ac)


@story
def a_command_that_is_run(ac: Server) -> str:
    ac.script(tool("echo one > log; cat log"), finish("Ran"))
    return task(ac)


@story
def named_outputs(ac: Server) -> str:
    ac.script(finish("Both", outputs={"summary": ("s.md", b"# S"), "table": ("t.csv", b"1,2")}))
    return task(ac, output_policy=NAMED)


@story
def an_incomplete_task(ac: Server) -> str:
    ac.script(finish("Half", outputs={"summary": ("s.md", b"# S")}, incomplete=True))
    return task(ac, output_policy=NAMED)


@story
def a_script_without_an_end(ac: Server) -> str:
    ac.script(say("Nothing to do."))
    return task(ac)


@story
def a_failure_of_the_provider(ac: Server) -> str:
    ac.script(tool("ls", output=""), fail("Your credit is spent."))
    return task(ac)


@story
def a_death(ac: Server) -> str:
    ac.script(tool("ls", output="x"), die(), finish("Survived"))
    return task(ac)


@story
def three_deaths(ac: Server) -> str:
    ac.script(die(), die(), die(), finish("Never"))
    return task(ac)


@story
def a_sleep(ac: Server) -> str:
    ac.script(hibernate(3600), tool("date", output="later"), finish("Woken"))
    made = ac.client.create_task(AGENT, instructions="Go.")
    ac.client.wait(made.id, "hibernating")
    ac.client.wake_task(made.id)
    return ac.client.wait(made.id).id


@story
def a_conversation(ac: Server) -> str:
    ac.script(
        [say("Hello"), say("there.")],
        [tool("ls", output="a\n"), attach({"a.txt": b"1"}), say("See a.txt.")],
        [fail("Overloaded.")],
        [finish("Bye", files={"b.txt": b"2"})],
    )
    made = ac.client.create_conversation(AGENT, instructions="Help.", message="Hi").task
    for message in ("More", "And more", "End"):
        ac.client.wait(made.id, "awaiting_input")
        ac.client.create_message(made.id, content=message)
    return ac.client.wait(made.id).id


@story
def a_script_that_does_not_fit(ac: Server) -> str:
    ac.script(tool("ls", output="x"), finish("Done", outputs={"other": ("s.md", b"")}), name="report")
    return task(ac, output_policy=NAMED)


@story
def no_script(ac: Server) -> str:
    return task(ac, "```bash\necho 1 > one; cat one\n```\n```finish\n--complete-task --message One one\n```")


ENDS = {
    "a_failure_of_the_provider": ("failed", "Your credit is spent."),
    "three_deaths": ("failed", "SIGKILL"),
    "a_script_that_does_not_fit": ("failed", 'script "report", step 2 (finish) was refused.'),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_as_its_script_says(ac: Server, name: str):
    told = seen(ac.url, ac.key, STORIES[name](ac))
    status, error = ENDS.get(name, ("finished", ""))
    assert told["status"] == status and error in (told["error"] or ""), told


@pytest.mark.podman
@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_the_same_with_real_containers(ac: Server, podman_server: Server, name: str):
    podman_server.reset()
    simulated, real = (seen(one.url, one.key, STORIES[name](one)) for one in (ac, podman_server))
    assert real == simulated
