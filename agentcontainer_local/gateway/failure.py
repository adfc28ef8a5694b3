"""Failures of model calls: a sentence for people, and a kind that tells Pi whether to retry.

Pi decides by the words of an error whether it retries, shortens its history or gives up. So Pi gets a fixed text for
each kind. What happened is stored in the call's row, and becomes the task's error.
"""

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from yarl import URL

from agentcontainer_local.gateway import said
from agentcontainer_local.gateway.admission import Call
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.provider_session import CONNECT_SECONDS
from agentcontainer_local.gateway.refusal import Refusal
from agentcontainer_local.gateway.routes import Dialect

if TYPE_CHECKING:
    import aiohttp

# `fatal`: the same call would fail again. `passing`: a retry may succeed. `overflow`: the prompt must be shortened.
# `picture`: it may succeed without images.
Kind = Literal["fatal", "passing", "overflow", "picture"]
TO_PI: dict[Kind, tuple[str, str]] = {
    "fatal": ("invalid_request_error", "The model call failed, and to repeat it would not help."),
    "passing": ("overloaded_error", "The provider is overloaded or was not reached: upstream connection error."),
    "picture": ("invalid_request_error", "The provider refused an image of the prompt."),
    "overflow": ("invalid_request_error", "The prompt is too long: it exceeds the context window of the model."),
}
PASSING = (408, 409, 425, 429)  # also all from 500 on except NEVER
NEVER = (501, 505)
FAILED_FOR_GOOD = 424  # "failed dependency": neither Pi nor our extension gives it a meaning
MAX_ATTEMPTS = 6  # consecutive failed attempts
MAX_SILENT_ATTEMPTS = 2  # attempts without any answer: each takes as long as a provider may be silent
MAX_DETAIL_CHARACTERS = 4000


@dataclass(frozen=True)
class Failure:
    """A failure of a call. `status`: for the guest. `what`: what happened at the address. `remedy`: what to do.
    `window`: the context window, if the error named it. `instead`: the whole message, if no provider was asked."""

    kind: Kind
    status: int
    what: str
    remedy: str = ""
    detail: str | None = None
    window: int | None = None
    retry_after: float = 0
    instead: str = ""

    def refusal(self) -> Refusal:
        type, words = TO_PI[self.kind]
        kept = self.status == 429 or self.status >= 500 if self.kind == "passing" else 400 <= self.status < 429
        return Refusal(self.status if kept else 503 if self.kind == "passing" else FAILED_FOR_GOOD, type, words)


class Failed(Exception):
    def __init__(self, failure: Failure):
        super().__init__(failure.what)
        self.failure = failure


def of_error(error: Exception, address: str, proxy: str | None, reached: bool, idle_seconds: float) -> Failure:
    """No answer came. `reached`: this address answered the task before, so a retry may succeed."""
    import aiohttp

    kind: Kind = "passing" if reached else "fatal"
    url = _url(address)
    match error:
        case aiohttp.ClientProxyConnectionError():
            return Failure(kind, 502, f"can't be reached: its proxy {shown(proxy)} does not answer", PROXY)
        case aiohttp.ClientHttpProxyError():
            return Failure(kind, 502, f"can't be reached: the proxy {shown(proxy)} answered {error.status}", PROXY)
        case aiohttp.ClientConnectorDNSError():
            return Failure(kind, 502, f"can't be reached: the host name {url.host} was not found", "Check the address")
        case aiohttp.ClientConnectorCertificateError():
            why = said.brief(str(error.certificate_error).removeprefix("[SSL: CERTIFICATE_VERIFY_FAILED] "))
            return Failure(
                "fatal",
                502,
                f"can't be trusted: {why}",
                "Name its certificate authority in SSL_CERT_FILE in the server's environment, or change the address",
            )
        case aiohttp.ClientConnectorSSLError() | aiohttp.ClientSSLError():
            return Failure("fatal", 502, "does not speak TLS correctly", "Use http:// if it is a plain server")
        case aiohttp.ClientConnectorError():
            return Failure(kind, 502, _not_connected(error, url), "Start the model server, or change the address")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failure("fatal", 502, "is not an http or https address", "Change the address")
        case aiohttp.ConnectionTimeoutError():
            return Failure(kind, 504, f"did not accept a connection within {CONNECT_SECONDS} s", "Check the address")
        case TimeoutError():
            return Failure("passing", 504, f"did not answer within {idle_seconds:g} s", PATIENCE)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError():
            return Failure("passing", 502, "closed the connection before it answered", "See the model server's log")
        case aiohttp.ClientResponseError():
            return Failure("fatal", 502, "does not speak HTTP", "Check the address")
    return Failure("fatal", 502, f"can't be called: {said.brief(str(error)) or type(error).__name__}")


PROXY = "Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the server's environment"
PATIENCE = (
    "Check the model server's load, or raise the maximum silence with `agentcontainer serve --provider-idle-seconds`"
)


def _not_connected(error: "aiohttp.ClientConnectorError", url: URL) -> str:
    if error.errno == errno.ECONNREFUSED:
        return f"can't be reached: nothing listens at {url.host} port {url.port}"
    why = error.strerror or str(error.os_error)
    return f"can't be reached: {said.brief(why)}"


def of_cut(error: Exception, idle_seconds: float) -> Failure:
    """The connection failed after the answer had begun."""
    if isinstance(error, TimeoutError):
        return Failure(
            "passing", 504, f"stopped in the middle of its answer: nothing came for {idle_seconds:g} s", PATIENCE
        )
    return Failure("passing", 502, "closed the connection in the middle of its answer", "See the model server's log")


def of_redirect(location: str) -> Failure:
    to = f" to {shown(location)}" if location else ""
    what = f"redirects{to} instead of answering"
    return Failure("fatal", FAILED_FOR_GOOD, what, "Set the redirect's final address")


def of_body(content_type: str, body: bytes) -> Failure:
    """The status is a success, but the body is not a model's answer."""
    detail = said.text(body)
    if title := said.title(detail):
        what = f'answered with a web page ("{title}") instead of a model\'s answer'
    elif "html" in content_type or detail.lstrip()[:1] == "<":
        what = "answered with a web page instead of a model's answer"
    elif quoted := said.message(body):
        what = f'answered with an error where a stream was asked for: "{quoted}"'
    else:
        what = "answered with one document where a stream was asked for"
    return Failure("fatal", FAILED_FOR_GOOD, what, "Check the address. The server must support streaming", detail)


def of_status(status: int, reason: str | None, body: bytes, retry_after: str | None, dialect: str) -> Failure:
    """The provider answered with an error status."""
    quoted, detail = said.message(body), said.text(body)
    if not quoted and (title := said.title(detail)):
        quoted = title
    what = f"answered {status}{f' {reason}' if reason else ''}" + (f': "{quoted}"' if quoted else "")
    kind, remedy = _of_words(f"{quoted} {detail}", status) or _of_number(status, dialect)
    window = said.window(detail) if kind == "overflow" else None
    return Failure(kind, status, what, remedy, detail, window, said.seconds(retry_after))


def of_event(code: int | None, message: str, detail: str) -> Failure:
    """An error in a stream that began with status 200."""
    what = f'broke off its answer with an error: "{message}"' if message else "broke off its answer with an error"
    kind, remedy = _of_words(f"{message} {detail}", code or 500) or _of_number(code or 500, "")
    return Failure(
        kind,
        code if code and 400 <= code < 600 else 502,
        what,
        remedy,
        detail,
        said.window(detail) if kind == "overflow" else None,
    )


def unasked(why: str) -> Failure:
    """No provider was asked, and a retry would have the same result. `why`: a message for people."""
    return Failure("fatal", FAILED_FOR_GOOD, "was not asked", instead=why)


def of_full_window() -> Failure:
    return Failure("overflow", 400, "stopped because the model's context window is full")


def _of_words(words: str, status: int) -> tuple[Kind, str] | None:
    if 400 <= status < 500 and said.OVERFLOW.search(words) and not said.NO_OVERFLOW.search(words):
        return "overflow", OVERFLOW
    if status in (400, 413, 415, 422) and said.PICTURES.search(words):
        return "picture", "pictures"
    if said.SPENT.search(words):
        return "fatal", "Check the account and its limits at the provider"
    return None


OVERFLOW = "Set the model's context window, if it is smaller than it says: `--context-window`"


def _of_number(status: int, dialect: str) -> tuple[Kind, str]:
    if status in PASSING or (status >= 500 and status not in NEVER):
        return "passing", "See the model server's log, or wait"
    if status in (401, 403):
        return "fatal", "key"
    if status == 413:
        return "overflow", OVERFLOW
    if status in (404, 405) and dialect:
        return "fatal", "dialect"
    return "fatal", ""


def last(failure: Failure, attempt: int, silent: int) -> Failure:
    """The failure, changed to one without retry if there were enough attempts."""
    if failure.kind != "passing" or (attempt < MAX_ATTEMPTS and silent < MAX_SILENT_ATTEMPTS):
        return failure
    times = f", {attempt} times in a row" if attempt > 1 else ""
    return Failure("fatal", failure.status, failure.what + times, failure.remedy, failure.detail)


def sentence(failure: Failure, grant: Grant, address: str, call: Call, seconds: float, proxy: str | None) -> str:
    """The error for people: what happened, the address, the model, the duration, and what to do."""
    if failure.instead:
        return failure.instead
    via = f", through the proxy {shown(proxy)}" if proxy and "proxy" not in failure.what else ""
    whole = f"{shown(address)} {failure.what} (model {said.brief(call.model, 200)}, after {seconds:.1f} s{via})."
    remedy = _remedy(failure.remedy, grant, call.route.dialect)
    return scrubbed(f"{whole} {remedy}." if remedy else whole, grant.api_key)


def _remedy(remedy: str, grant: Grant, dialect: Dialect) -> str:
    name = f"agentcontainer providers set {grant.provider}"
    if remedy == "key":
        return KEYS[grant.key_source].format(name=name, variable=f"{grant.provider.upper()}_API_KEY")
    if remedy == "dialect":
        if grant.own_address and dialect in ("messages", "responses"):
            return (
                f"If the server speaks chat completions, but not {dialect}: `{name} --api chat-completions`."
                f" Else check the model's name, and the address: `{name} --base-url URL`"
            )
        return f"Check the model's name, and the address: `{name} --base-url URL`"
    if remedy == "pictures":
        return f"If the model accepts no images: `{name} --no-images`"
    if "--context-window" in remedy:
        return f"If the model's context window is smaller than was assumed: `{name} --context-window TOKENS`"
    if "address" in remedy:
        return f"{remedy}: `{name} --base-url URL`"
    return remedy


KEYS = {
    "task": "Give the task another `providerApiKey`",
    "agent": "Give the agent another `providerApiKey`",
    "store": "Set another key: `{name} < FILE`",
    "environment": "Start the server with another {variable}, or set a key: `{name} < FILE`",
    None: "Set a key: `{name} < FILE`",
}


def shown(address: str | None) -> str:
    """The address without a password and a query."""
    return said.brief(re.sub(r"//[^/?#]*@", "//", (address or "").partition("?")[0]), 300)


def _url(address: str) -> URL:
    try:
        return URL(address)
    except ValueError:
        return URL()


def scrubbed(text: str, key: str | None) -> str:
    """The text without the key. Short keys, such as the placeholder "none", are no secret and may occur elsewhere."""
    return text.replace(key, "***") if key and len(key) >= 8 else text
