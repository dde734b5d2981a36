"""Errors as gRPC statuses and trailing metadata."""

import math

import grpc

from poselift.errors import PoseliftError
from poselift_service import errors

# Every class of error that a request can end in; `PoseliftError` stands for all its children.
STATUS: dict[type[Exception], grpc.StatusCode] = {
    PoseliftError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # the library's own status for still larger ones
    errors.BodyTooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.WrongTask: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownSession: grpc.StatusCode.NOT_FOUND,
    errors.SessionConflict: grpc.StatusCode.ABORTED,
    errors.SessionStoreDown: grpc.StatusCode.UNAVAILABLE,
    errors.StreamIdle: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotReady: grpc.StatusCode.UNAVAILABLE,
    errors.EngineFailed: grpc.StatusCode.INTERNAL,
    errors.ModelConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RepositoryDown: grpc.StatusCode.UNAVAILABLE,
}
# gRPC's own name for a retry hint in milliseconds; clients with a retry policy obey it without code of their own.
_RETRY_HINT = "grpc-retry-pushback-ms"
_NEVER_RETRY = "-1"


def status_of(error: PoseliftError | errors.ServiceError) -> grpc.StatusCode:
    """Look up the status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def number_of(status: grpc.StatusCode) -> int:
    """Give the number of a status on the wire."""
    return int(status.value[0])


def error_metadata(error: PoseliftError | errors.ServiceError) -> dict[str, str]:
    """Give the trailing metadata of an error, besides its code: the field at fault and when to try again."""
    metadata = {}
    if error.path is not None:
        metadata["poselift-path"] = errors.shorten(error.path)
    if isinstance(error, errors.BodyTooLarge):
        metadata[_RETRY_HINT] = _NEVER_RETRY  # its status alone would invite a retry
    if isinstance(error, errors.SessionConflict):
        metadata["poselift-expected-frame-index"] = str(error.expected_frame_index)
    if isinstance(error, errors.Overloaded | errors.SessionStoreDown):
        metadata[_RETRY_HINT] = str(math.ceil(1000 * error.retry_after_s))
    return metadata
