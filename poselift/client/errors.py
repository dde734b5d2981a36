"""The one error of the client: what the server said, or that it could not be reached."""

from collections.abc import Mapping
from typing import Any

# Codes of the client's own, beside those of docs/errors.md.
UNREACHABLE = "unreachable"
DEADLINE_EXCEEDED = "deadline_exceeded"
# What a proxy answers while there is no server behind it.
_NO_SERVER_STATUSES = (502, 503, 504)


class ApiError(Exception):
    """A call failed.

    Attributes:
        code: stable name of the reason, as docs/errors.md lists them; `unreachable` where no server answered,
            `unexpected_answer` where something else than this service did.
        message: one sentence, for people.
        path: the field at fault, such as `keypoints[3][5][0]`; None if no single field is.
        retry_after_s: when the server suggests to try again; None if it does not.
        expected_frame_index: with `session_conflict`, index of the next frame that the session expects.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        path: str | None = None,
        retry_after_s: float | None = None,
        expected_frame_index: int | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.path = path
        self.retry_after_s = retry_after_s
        self.expected_frame_index = expected_frame_index

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.path})" if self.path else "")


def unreachable(error: BaseException | str) -> ApiError:
    """The error of a connection that could not be made, or broke."""
    return ApiError(UNREACHABLE, f"The server cannot be reached, or the connection broke: {str(error) or repr(error)}")


def timed_out(waited_s: float) -> ApiError:
    """The error of a call without an answer."""
    return ApiError(DEADLINE_EXCEEDED, f"There was no answer within {waited_s:g} s.")


def error_of_body(document: Any, retry_after_s: float | None = None) -> ApiError | None:
    """Read the error out of a JSON body or message; None if it is not of this service."""
    told: Any = document.get("error") if isinstance(document, dict) else None
    if not isinstance(told, dict) or "code" not in told:
        return None
    return ApiError(
        told["code"],
        told.get("message", ""),
        path=told.get("path"),
        retry_after_s=told.get("retry_after_s", retry_after_s),
        expected_frame_index=told.get("expected_frame_index"),
    )


def error_of_response(status: int, headers: Mapping[str, str], document: Any) -> ApiError:
    """Read the error out of an HTTP response.

    Args:
        document: its body, parsed; None if it is not JSON.
    """
    hint = _seconds(headers.get("retry-after", ""))
    if (error := error_of_body(document, hint)) is not None:
        return error
    if status in _NO_SERVER_STATUSES:
        return ApiError(UNREACHABLE, f"A proxy answered with status {status}.", retry_after_s=hint)
    return ApiError("unexpected_answer", f"This is not Poselift, or not its address: status {status}.")


def _seconds(header: str) -> float | None:
    try:
        return max(0.0, float(header))
    except ValueError:
        return None
