"""Decides what the scripted model says or does next, from the history alone."""

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from agentcontainer_local.gateway.scripted.blocks import DEFAULT_FINISH, Script, Step, is_finish, script, written
from agentcontainer_local.gateway.scripted.history import Item, Result, Said, User, serialized

SUMMARY = "Summary by the scripted model. What was done is done."
TO_SUMMARISE = re.compile(
    r"\A(?:<conversation>\n(.*)\n</conversation>\n|# Conversation\n(.*)\n\n# Instructions\n)", re.DOTALL
)
EARLIER = "<previous-summary>\n", "\n</previous-summary>"


@dataclass(frozen=True)
class Next:
    """The text to say, then the command for the bash tool, if any."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Progress:
    """The progress of a history. `left`: steps to do. `other`: commands that were run but are in none of its blocks."""

    left: tuple[Step, ...]
    other: tuple[str, ...]
    say: str
    finish: str  # the call of the last finish block, or the default
    last: str | None  # the command of the last call
    result: Result | None  # its result


def decide(items: Sequence[Item], conversation: bool) -> Next:
    if conversation:
        return _converse(items)
    progress = _progress(items)
    if progress.left:
        return Next(progress.left[0].say, progress.left[0].command)
    if progress.last is None or not is_finish(progress.last) or progress.result is None or progress.result.unknown:
        return Next(progress.say, progress.finish)
    return Next(_after_finish(progress.result))


def _after_finish(result: Result) -> str:
    return f"finish was refused: {result.text}" if result.failed else "The task is finished."


def _converse(items: Sequence[Item]) -> Next:
    turn = _turn(items)
    progress = _progress(turn)
    if progress.left:
        return Next(progress.left[0].say, progress.left[0].command)
    if progress.last is not None and is_finish(progress.last) and progress.result is not None:
        return Next(_after_finish(progress.result))
    if progress.say:
        return Next(progress.say)
    if progress.result:
        return Next(progress.result.text or "Done.")
    asked = [item.text for item in turn if isinstance(item, User)]
    return Next(asked[-1] if asked else "Done.")


def _turn(items: Sequence[Item]) -> Sequence[Item]:
    """The items since the message that is being answered.

    That is the latest message. If it has no blocks and the turn was not answered yet (Pi was restarted, or time is
    nearly over), it is the latest message of the turn that has some.
    """
    ends = [at for at, item in enumerate(items) if isinstance(item, Said) and not item.calls]
    turn = items[ends[-1] + 1 :] if ends else items
    asked = [at for at, item in enumerate(turn) if isinstance(item, User)]
    scripts = [at for at in asked if script(turn[at].text) != Script()]
    return turn[max(scripts or asked, default=0) :]


def _progress(items: Sequence[Item]) -> Progress:
    scripts = [script(item.text) for item in items if isinstance(item, User)]
    steps = tuple(step for one in scripts for step in one.steps)
    calls = [command for one in scripts for command in one.done]
    last, result = None, None
    for item in items:
        if isinstance(item, Said) and item.commands:
            calls += item.commands
            last, result = item.commands[-1], None
        elif isinstance(item, Result) and last is not None:
            result = item
    left, other = _aligned(steps, calls)
    finish = next((step.command for step in reversed(steps) if is_finish(step.command)), DEFAULT_FINISH)
    return Progress(left, other, scripts[-1].say if scripts else "", finish, last, result)


def _aligned(steps: tuple[Step, ...], calls: Sequence[str]) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """The steps after the last one that was called, and the calls that match no step.

    They are compared by command, not by number: the default `finish` is in no block, and a compaction can keep a call
    without its block.
    """
    places: dict[bytes, deque[int]] = defaultdict(deque)
    for at, step in enumerate(steps):
        places[_plain(step.command)].append(at)
    begin, other = 0, []
    for call in calls:
        found = places.get(_plain(call), deque())
        while found and found[0] < begin:
            found.popleft()
        if found:
            begin = found[0] + 1
        else:
            other.append(call)
    return steps[begin:], tuple(other)


def _plain(command: str) -> bytes:
    """The command as bytes, without invalid characters, which Pi removes."""
    return command.encode(errors="ignore").strip()


def summary(text: str, conversation: bool) -> str:
    """Answers Pi's request for a summary with the blocks that are still to do, so that work continues there."""
    asked = TO_SUMMARISE.match(text)
    items: list[Item] = serialized(asked[1] or asked[2] or "") if asked else []
    if (earlier := _between(text, *EARLIER, asked.end() if asked else 0)) is not None:
        items.insert(0, User(earlier))
    progress = _progress(_turn(items) if conversation else items)
    blocks = []
    for step in progress.left:
        blocks += [written("say", step.say)] if step.say else []
        blocks.append(written("bash", step.command))
    blocks += [written("say", progress.say)] if progress.say else []
    blocks += [written("done", command) for command in progress.other]
    return "\n\n".join([SUMMARY, *blocks])


def _between(text: str, opening: str, closing: str, start: int) -> str | None:
    if (begin := text.find(opening, start)) < 0 or (end := text.find(closing, begin + len(opening) - 1)) < 0:
        return None
    return text[begin + len(opening) : end]
