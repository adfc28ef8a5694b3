"""Removes secrets from recordings: the keys of a call in all encodings, and everything that looks like a key."""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from agentcontainer_local.gateway.grant import Grant

HIDDEN = "<secret>"
MIN_CHARACTERS = 8  # shorter values, such as the placeholder "none", are not secrets
MIN_TOKEN_CHARACTERS = 16  # minimum for a part of a URL's path; shorter ones are names
NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)  # of environment variables
KEYS = re.compile(
    r"(?<![\w+/-])(?:sk-(?=[\w-]{0,200}\d)[\w-]{20,}|ac_live_[\w-]{20,}|gh[pousr]_\w{30,}|github_pat_\w{30,}"
    r"|AKIA[0-9A-Z]{16}|xox[abpr]-[\w-]{20,}|AIza[\w-]{35})"
)


class Secrets:
    """Replaces secrets in text. `known`: the secrets."""

    def __init__(self, known: Iterable[str]):
        forms = {form for one in known if len(one) >= MIN_CHARACTERS for form in _forms(one)}
        longest_first = sorted(forms, key=lambda one: (-len(one), one))
        self._known = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def hidden(self, text: str) -> str:
        return KEYS.sub(HIDDEN, self._known.sub(HIDDEN, text))

    def hidden_in(self, value: Any) -> Any:
        """The JSON value without secrets, including in its names."""
        match value:
            case str():
                return self.hidden(value)
            case list():
                return [self.hidden_in(one) for one in value]
            case dict():
                return {self.hidden(name): self.hidden_in(one) for name, one in value.items()}
        return value


def of(environ: Mapping[str, str], grant: Grant) -> Secrets:
    """The secrets of a call: its key, those in its URL, and those in the server's environment."""
    named = (value.strip() for name, value in environ.items() if NAMES.search(name))
    addresses = (value for name, value in environ.items() if name.upper().endswith(("_URL", "_PROXY")))
    inside = (one for address in (grant.base_url, *addresses) for one in _in_address(address))
    return Secrets((grant.api_key or "", *named, *inside))


def _in_address(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return
    if password:
        yield from (unquote(password), f"{user}:{password}", f"{unquote(user)}:{unquote(password)}")
    else:
        yield unquote(user)  # some servers take a key as user name
    yield from (value for _, value in parse_qsl(parts.query))
    for part in parts.path.split("/"):
        if len(part) >= MIN_TOKEN_CHARACTERS and re.search(r"\d", part):
            yield unquote(part)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
