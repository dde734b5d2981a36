"""Errors of the service, one class per kind.

    ServiceError
    ├── Unauthenticated     the request has no API key, or an unknown one
    ├── InvalidRequest      the request breaks the contract
    ├── BodyTooLarge        the request is larger than the server reads
    ├── BodyTooSlow         the request did not arrive in time
    ├── UnknownModel        no model is served under that name
    ├── WrongTask           the model does not do what the request asks for
    ├── UnknownSession      the session was never opened, was closed, or has expired
    ├── SessionConflict     the frames do not follow the stored ones, or differ from them
    ├── SessionStoreDown    the store of the sessions cannot be reached or is full
    ├── Overloaded          the server has no capacity left; nothing was done
    ├── StreamIdle          the client of a stream sends or reads nothing
    ├── DeadlineExceeded    the answer would have been too late
    ├── ModelConflict       the state of the served models does not allow it
    ├── RepositoryDown      the model repository cannot be reached
    ├── NotReady            the server is warming up or shutting down
    └── EngineFailed        the network failed

Errors in the caller's data are children of `poselift.errors.PoseliftError`. Each transport has one table from these
classes to its status codes; nothing here depends on HTTP or gRPC.
"""

from typing import ClassVar

from poselift.errors import PoseliftError


class ServiceError(Exception):
    """A request fails.

    Attributes:
        code: stable name that clients may act on.
        message: one sentence, meant for the caller.
        path: the field at fault, as in `keypoints[3][5][0]`, or None when no single field is.
    """

    code: ClassVar[str]

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class Unauthenticated(ServiceError):
    """The request has no API key, or an unknown one; its body was not read."""

    code = "unauthenticated"


class InvalidRequest(ServiceError):
    """The request breaks the contract."""

    code = "invalid_request"


class BodyTooLarge(ServiceError):
    """The request is larger than the server reads."""

    code = "body_too_large"

    def __init__(self, limit_bytes: int, setting: str = "") -> None:
        """Name the limit, and the setting that changes it, if there is one."""
        named = f" (setting {setting})" if setting else ""
        super().__init__(f"A body may have at most {limit_bytes} bytes{named}.")


class BodyTooSlow(ServiceError):
    """The request did not arrive in time."""

    code = "request_timeout"

    def __init__(self) -> None:
        super().__init__("The body did not arrive in time (setting deadline_s).")


class UnknownModel(ServiceError):
    """No model is served under that name."""

    code = "unknown_model"

    def __init__(self, reference: str, served: list[str]) -> None:
        super().__init__(f"There is no model {reference!r} here; there are: {', '.join(served)}.", path="model")


class WrongTask(ServiceError):
    """The model does not do what the request asks for, or no model does."""

    code = "wrong_task"

    def __init__(self, message: str) -> None:
        super().__init__(message, path="model")


class UnknownSession(ServiceError):
    """The session was never opened, was closed, or has expired; the client must open another one."""

    code = "unknown_session"

    def __init__(self) -> None:
        super().__init__("There is no such session; it was never opened here, was closed, or has expired.")


class SessionConflict(ServiceError):
    """The frames do not follow the stored ones, or differ from them; nothing was changed.

    Attributes:
        expected_frame_index: index that the next frame must have.
    """

    code = "session_conflict"

    def __init__(self, expected_frame_index: int) -> None:
        super().__init__(
            f"The session expects frame {expected_frame_index} next, or some of its last frames again, unchanged.",
            path="frame_index",
        )
        self.expected_frame_index = expected_frame_index


class SessionStoreDown(ServiceError):
    """The store of the sessions cannot be reached or is full; the same request may be sent again."""

    code = "session_store_down"
    retry_after_s: ClassVar[float] = 1.0

    def __init__(self, message: str = "The store of the sessions cannot be reached at the moment; try again.") -> None:
        super().__init__(message)


class Overloaded(ServiceError):
    """The server has no capacity left; nothing was done, and the same request may be sent again.

    Attributes:
        retry_after_s: time after which there may be capacity.
    """

    code = "overloaded"

    def __init__(self, retry_after_s: float, message: str = "") -> None:
        limits = "settings max_windows_queued and deadline_s"
        super().__init__(message or f"The server has as much work as it can finish in time ({limits}); try again.")
        self.retry_after_s = retry_after_s


class StreamIdle(ServiceError):
    """The client of a stream sends or reads nothing; its session may still exist."""

    code = "stream_idle"

    def __init__(self, waited_s: float, setting: str) -> None:
        super().__init__(f"The stream waited {waited_s:g} s for its client, and ends (setting {setting}).")


class DeadlineExceeded(ServiceError):
    """The answer would have been too late."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The answer was not ready before the deadline (setting deadline_s, or the client's own).")


class ModelConflict(ServiceError):
    """The state of the served models does not allow it; nothing was changed."""

    code = "model_conflict"


class RepositoryDown(ServiceError):
    """The model repository cannot be reached; nothing was changed."""

    code = "repository_down"


class NotReady(ServiceError):
    """The server is warming up or shutting down."""

    code = "not_ready"


class EngineFailed(ServiceError):
    """The network failed; the cause is in the server's log."""

    code = "engine_failed"

    def __init__(self, message: str = "The network failed on this batch.") -> None:
        super().__init__(message)


_MAX_TEXT_CHARACTERS = 2000
_OMITTED = " ... "


def shorten(text: str) -> str:
    """Cut the message or the path of an error, which may quote a request, to what a client can use.

    The middle is left out: the end of a message says what to do. Over gRPC it is metadata, and with all else must fit
    into the 8 KiB that clients take.
    """
    if len(text) <= _MAX_TEXT_CHARACTERS:
        return text
    kept = (_MAX_TEXT_CHARACTERS - len(_OMITTED)) // 2
    return f"{text[:kept]}{_OMITTED}{text[-kept:]}"


class CannotStart(Exception):
    """The service cannot start with its settings; the message is one sentence. No request fails with it."""


def code_of(error: ServiceError | PoseliftError) -> str:
    """The stable name of an error; all errors in the caller's data have the same."""
    return error.code if isinstance(error, ServiceError) else InvalidRequest.code
