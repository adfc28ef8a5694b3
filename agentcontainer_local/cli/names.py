"""Names in the place of ids, on the command line: wherever a name is unique."""

from collections.abc import Callable, Iterable

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import Session


def agent(session: Session, given: str) -> str:
    return _id("agent", "agt_", given, lambda: ((one.id, one.name) for one in session.client.list_agents()))


def container(session: Session, given: str) -> str:
    return _id("container", "ctr_", given, lambda: ((one.id, one.name) for one in session.client.list_containers()))


def key(session: Session, given: str) -> str:
    return _id(
        "key",
        "key_",
        given,
        lambda: ((one.id, one.name) for one in session.client.list_keys() if one.revoked_at is None),
    )


def reference_file(session: Session, agent_id: str, given: str) -> str:
    return _id(
        "file",
        "file_",
        given,
        lambda: ((one.id, one.filename) for one in session.client.list_reference_files(agent_id)),
    )


def task(session: Session, given: str) -> str:
    """`last` is the latest; a title counts among the latest thousand."""
    if given == "last":
        if latest := next(session.client.list_tasks(limit=1), None):
            return latest.id
        raise Stop(Exit.NOT_FOUND, "There are no tasks yet.")
    return _id("task", "tsk_", given, lambda: ((one.id, one.title) for one in session.client.list_tasks(limit=1000)))


def _id(what: str, prefix: str, given: str, listed: Callable[[], Iterable[tuple[str, str]]]) -> str:
    """The id that has this name; letters may differ in case where that leaves one."""
    if given.startswith(prefix):
        return given
    pairs: list[tuple[str, str]] = list(listed())
    for same in (str, str.casefold):
        if found := [id for id, name in pairs if same(name) == same(given)]:
            if len(found) > 1:
                ids = ", ".join(found)
                raise Stop(Exit.WRONG_USE, f"{len(found)} {what}s are called {given}. Give the id of one: {ids}.")
            return found[0]
    raise Stop(Exit.NOT_FOUND, f"There is no {what} called {given}. `agentcontainer {what}s list` shows them all.")
