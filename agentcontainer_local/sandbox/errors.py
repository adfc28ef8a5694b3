"""What can go wrong with a sandbox; every message says what to do."""


class SandboxError(RuntimeError):
    """Podman did not do what it was asked to."""


class ImageMissing(SandboxError):
    """The image is not in this account's storage."""


class Unavailable(SandboxError):
    """Podman's API service does not answer; nothing is known about what was asked."""


class Unwalled(SandboxError):
    """A container was not started, for its network is not closed where it must be."""


class Refusal(SandboxError):
    """Podman answered, and its answer is no."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
