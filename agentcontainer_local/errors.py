"""The errors of the API: a closed list, each with its HTTP status and code."""

import math
from typing import Any


class Problem(Exception):
    """An answer in the API's error shape: `{"error": {"code", "message", ...extra}}` (spec: ErrorResponse)."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, **extra: Any):
        super().__init__(message)
        self.message = message
        self.extra = extra

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, **self.extra}}


class BadRequest(Problem):
    status, code = 400, "bad_request"


class Unauthorized(Problem):
    status, code = 401, "unauthorized"

    def __init__(self) -> None:
        super().__init__("Invalid or missing API key.")


class InsufficientCredits(Problem):
    status, code = 402, "insufficient_credits"


class Forbidden(Problem):
    status, code = 403, "forbidden"


class NotFound(Problem):
    """Also for somebody else's row: to a caller it does not exist."""

    status, code = 404, "not_found"


class MethodNotAllowed(Problem):
    status, code = 405, "method_not_allowed"


class RequestTimeout(Problem):
    status, code = 408, "request_timeout"


class Conflict(Problem):
    status, code = 409, "conflict"


class IdempotencyConflict(Problem):
    status, code = 409, "idempotency_conflict"


class TooLarge(Problem):
    status, code = 413, "too_large"


class UnsupportedMediaType(Problem):
    status, code = 415, "unsupported_media_type"


class UnsupportedEncoding(UnsupportedMediaType):
    headers = {"accept-encoding": "identity"}

    def __init__(self) -> None:
        super().__init__("The body is compressed or encoded. Send its bytes as they are, without Content-Encoding.")


class RangeNotSatisfiable(Problem):
    status, code = 416, "range_not_satisfiable"

    def __init__(self, size: int):
        super().__init__(f"The file has {size} bytes.")
        self.headers = {"content-range": f"bytes */{size}"}


class Invalid(Problem):
    """`fields`: a list of `{"field": "a.b", "message": "..."}`, one for each fault found."""

    status, code = 422, "validation_error"

    def __init__(self, message: str, fields: list[dict[str, Any]] | None = None, **extra: Any):
        super().__init__(message, fields=fields or [], **extra)

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        return cls(f"{field}: {message}", [{"field": field, "message": message}])


class ProviderKeyMissing(Problem):
    status, code = 422, "provider_key_missing"


class Unsupported(Problem):
    status, code = 422, "unsupported"


class TooManyPending(Problem):
    """Answered with a Retry-After header of `retry_after` seconds."""

    status, code = 429, "too_many_pending"

    def __init__(self, message: str, retry_after: int):
        super().__init__(message)
        self.retry_after = retry_after


class TooManyRequests(Problem):
    status, code = 429, "too_many_requests"

    def __init__(self, wait_seconds: float):
        super().__init__("Too many requests. Wait for the seconds in the Retry-After header.")
        self.retry_after = math.ceil(wait_seconds)


class Misdirected(Problem):
    """Asked under a name that is not this server's."""

    status, code = 421, "misdirected_request"


class Unavailable(Problem):
    status, code = 503, "unavailable"
