"""The log on stderr, as text or JSON: one event per line with time, level, module and ids."""

import json
import logging
import sys
from datetime import UTC, datetime

CHATTY = ("apscheduler", "uvicorn", "httpx", "httpcore", "urllib3", "podman")


def start(level: str, as_json: bool = False) -> None:
    """`level` applies to this program. Libraries log warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if as_json else Line())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


class Line(logging.Formatter):
    """A line such as `2026-01-01T00:00:00.000Z INFO run task=tsk_… started`. Line breaks in messages are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_time(record)} {record.levelname} {_module(record)} " + _one_line(text)


class JsonLine(logging.Formatter):
    """A JSON object. The named arguments of a message, `log.info("task=%(task)s", {"task": id})`, become fields."""

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
    """Escapes line breaks and control characters, so that text from a request can't forge a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
