"""What the service itself refuses or fails at, one class each.

    ServiceError
    ├── InvalidRequest      the request cannot be read as what the contract says
    ├── UnknownModel        no model is served under that name
    ├── Overloaded          no permit is left; nothing was done
    ├── DeadlineExceeded    the answer would have come too late
    ├── NotReady            still warming up, or already shutting down
    └── EngineFailed        the network could not be run

What the caller's data got wrong is said by the children of `poselift.errors.PoseliftError`. Each transport has one
table from these classes to its own status; nothing here knows of HTTP.
"""

from typing import ClassVar


class ServiceError(Exception):
    """A request that gets no poses.

    Attributes:
        code: the stable name that clients may act on.
        message: one sentence, meant for the caller.
        path: the field at fault, as in `keypoints[3][5][0]`, or None when no single field is.
    """

    code: ClassVar[str]

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class InvalidRequest(ServiceError):
    """The request cannot be read as what the contract says."""

    code = "invalid_request"


class UnknownModel(ServiceError):
    """No model is served under that name."""

    code = "unknown_model"

    def __init__(self, reference: str, served: list[str]) -> None:
        super().__init__(f"There is no model {reference!r} here; there are: {', '.join(served)}.", path="model")


class Overloaded(ServiceError):
    """No permit is left; nothing was done, and the same request may be sent again.

    Attributes:
        retry_after_s: when there may be room again.
    """

    code = "overloaded"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The server has as much work as it can finish in time; try again later.")
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The answer would have come too late."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The poses were not ready before the deadline.")


class NotReady(ServiceError):
    """Still warming up, or already shutting down."""

    code = "not_ready"


class EngineFailed(ServiceError):
    """The network could not be run; the cause is in the server's log."""

    code = "engine_failed"

    def __init__(self) -> None:
        super().__init__("The network failed on this batch.")
