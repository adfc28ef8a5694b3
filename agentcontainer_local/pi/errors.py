"""Extracts the provider's or the gateway's message from Pi's error messages."""

import json
import re

REFUSED = re.compile(r'"type":\s*"permission_error"')
STATUS = re.compile(r"^(?:[\w ]+ API error )?\(?\d{3}\)?:? (?=\{)")


def refused(error: str | None) -> str | None:
    """The gateway's message, if the gateway refused the call."""
    return plain(error) if error and REFUSED.search(error) else None


def plain(error: str) -> str:
    """Pi's error without the status and the JSON around the message."""
    if not (status := STATUS.match(error)):
        return error
    try:
        document = json.loads(error[status.end() :])
    except (ValueError, RecursionError):
        return error
    message = (document.get("error") or document).get("message") if isinstance(document, dict) else None
    return message if isinstance(message, str) and message else error
