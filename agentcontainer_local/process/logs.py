"""The log: one event a line on stderr, with its time, level, module and ids; as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime

CHATTY = ("apscheduler", "uvicorn", "httpx", "httpcore", "urllib3", "podman")


def start(level: str, as_json: bool = False) -> None:
    """`level` is for what is ours; libraries are heard from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if as_json else Line())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Line(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO run task=tsk_… started`: whatever a message holds, it stays on its line."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_time(record)} {record.levelname} {_module(record)} " + _one_line(text)


class JsonLine(logging.Formatter):
    """What a message is made of by name, `log.info("task=%(task)s", {"task": id})`, has fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        facts = record.args if isinstance(record.args, dict) else {}
        said = {
            **facts,
            "time": _time(record),
            "level": record.levelname.lower(),
            "module": _module(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _module(record: logging.LogRecord) -> str:
    return record.name.removeprefix("agentcontainer_local.")


def _one_line(text: str) -> str:
    """Newlines and controls escaped: what a stranger's request says cannot make a line of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
