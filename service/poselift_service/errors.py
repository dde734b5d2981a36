"""What the service itself refuses or fails at, one class each.

    ServiceError
    ├── Unauthenticated     the request brings no key, or one that is not known
    ├── InvalidRequest      the request cannot be read as what the contract says
    ├── BodyTooLarge        the request has more bytes than the server reads
    ├── BodyTooSlow         the request did not arrive in time
    ├── UnknownModel        no model is served under that name
    ├── WrongTask           the model does something else than what is asked
    ├── UnknownSession      the session was never opened, was closed, or has expired
    ├── SessionConflict     the frames do not follow those that the session has, or are others
    ├── SessionStoreDown    the session's frames cannot be reached now
    ├── Overloaded          no permit is left; nothing was done
    ├── StreamIdle          the client of a stream keeps it waiting
    ├── DeadlineExceeded    the answer would have come too late
    ├── ModelConflict       the models that are served do not allow it now
    ├── RepositoryDown      the repository of the models cannot be reached now
    ├── NotReady            still warming up, or already shutting down
    └── EngineFailed        the network could not be run

What the caller's data got wrong is said by the children of `poselift.errors.PoseliftError`. Each transport has one
table from these classes to its own status; nothing here knows of HTTP.
"""

from typing import ClassVar

from poselift.errors import PoseliftError


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


class Unauthenticated(ServiceError):
    """The request brings no key, or one that is not known; nothing of it was read."""

    code = "unauthenticated"


class InvalidRequest(ServiceError):
    """The request cannot be read as what the contract says."""

    code = "invalid_request"


class BodyTooLarge(ServiceError):
    """The request has more bytes than the server reads."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"A body may have at most {limit_bytes} bytes.")


class BodyTooSlow(ServiceError):
    """The request did not arrive in time."""

    code = "request_timeout"

    def __init__(self) -> None:
        super().__init__("The body did not arrive in time.")


class UnknownModel(ServiceError):
    """No model is served under that name."""

    code = "unknown_model"

    def __init__(self, reference: str, served: list[str]) -> None:
        super().__init__(f"There is no model {reference!r} here; there are: {', '.join(served)}.", path="model")


class WrongTask(ServiceError):
    """The model does something else than what is asked, or none is served that does it."""

    code = "wrong_task"

    def __init__(self, message: str) -> None:
        super().__init__(message, path="model")


class UnknownSession(ServiceError):
    """The session was never opened, was closed, or has expired; its frames are gone and a new one must be opened."""

    code = "unknown_session"

    def __init__(self) -> None:
        super().__init__("There is no such session; it was never opened here, was closed, or has expired.")


class SessionConflict(ServiceError):
    """The frames do not follow those that the session has, or are others than these; nothing was changed.

    Attributes:
        expected_frame_index: what the next frame must be numbered.
    """

    code = "session_conflict"

    def __init__(self, expected_frame_index: int) -> None:
        super().__init__(
            f"The session expects frame {expected_frame_index} next, or some of its last ones again as they were.",
            path="frame_index",
        )
        self.expected_frame_index = expected_frame_index


class SessionStoreDown(ServiceError):
    """The session's frames cannot be reached now; the same request may be sent again."""

    code = "session_store_down"
    retry_after_s: ClassVar[float] = 1.0

    def __init__(self) -> None:
        super().__init__("The store of the sessions cannot be reached at the moment; try again.")


class Overloaded(ServiceError):
    """No permit is left; nothing was done, and the same request may be sent again.

    Attributes:
        retry_after_s: when there may be room again.
    """

    code = "overloaded"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("The server has as much work as it can finish in time; try again later.")
        self.retry_after_s = retry_after_s


class StreamIdle(ServiceError):
    """The client of a stream sends nothing, or takes no answers; its session may still be there."""

    code = "stream_idle"

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"The stream waited {waited_s:g} s for its client, and ends.")


class DeadlineExceeded(ServiceError):
    """The answer would have come too late."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The poses were not ready before the deadline.")


class ModelConflict(ServiceError):
    """The models that are served do not allow it now; nothing was changed."""

    code = "model_conflict"


class RepositoryDown(ServiceError):
    """The repository of the models cannot be reached now; nothing was changed."""

    code = "repository_down"


class NotReady(ServiceError):
    """Still warming up, or already shutting down."""

    code = "not_ready"


class EngineFailed(ServiceError):
    """The network could not be run; the cause is in the server's log."""

    code = "engine_failed"

    def __init__(self) -> None:
        super().__init__("The network failed on this batch.")


class CannotStart(Exception):
    """The service cannot be started as it was asked to; the message is one sentence. No request ends in it."""


def code_of(error: ServiceError | PoseliftError) -> str:
    """The stable name of what went wrong; everything that is wrong with the caller's data has the same."""
    return error.code if isinstance(error, ServiceError) else InvalidRequest.code
