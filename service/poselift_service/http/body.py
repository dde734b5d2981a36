"""Bodies of requests: their media types, their bytes, and what happens when their sender disconnects."""

import asyncio
import re
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from poselift_service import errors
from poselift_service.transport.limits import SizeLimit

JSON, PROTOBUF = _MEDIA_TYPES = "application/json", "application/x-protobuf"
_WEIGHT = re.compile(r"(?:^|;)\s*q=([01](?:\.\d{0,3})?)\s*(?:;|$)")

Done = TypeVar("Done")


def body_media_type(request: Request) -> str:
    """Give the media type of a body, in lower case and without parameters.

    Raises:
        HTTPException: 415, it is neither JSON nor protobuf, or it is compressed other than by gzip, once.
    """
    media_type = media_type_of(request)
    if media_type not in _MEDIA_TYPES:
        supported = " or ".join(_MEDIA_TYPES)
        raise HTTPException(415, f"The body must be {supported}; the request says {media_type or 'nothing'}.")
    refuse_other_encodings(request)
    return media_type


def media_type_of(request: Request) -> str:
    """What a request says its body is, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def refuse_other_encodings(request: Request) -> None:
    """Refuse a body that is compressed other than by gzip, once; that is expanded before it comes here.

    Raises:
        HTTPException: 415.
    """
    encodings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if any(encoding.strip() not in ("", "identity") for encoding in encodings):
        raise HTTPException(415, "The body may be compressed with gzip only, and once.")


def require_json(request: Request) -> None:
    """Refuse a body that is not JSON.

    Raises:
        HTTPException: 415.
    """
    if body_media_type(request) != JSON:
        raise HTTPException(415, f"The body must be {JSON}.")


def preferred_media_type(accept: str, *, default: str) -> str:
    """Choose the media type of the response.

    Args:
        accept: value of the header `accept`.
        default: taken when the header names neither JSON nor protobuf.
    Returns:
        The one with the highest weight; with equal weights, the first.
    """
    weights = weights_of(accept)
    accepted = [media_type for media_type in weights if media_type in _MEDIA_TYPES and weights[media_type] > 0]
    return max(accepted, key=lambda media_type: weights[media_type], default=default)


def weights_of(accept: str) -> dict[str, float]:
    """The weights, in [0, 1], of the alternatives in the value of a header such as `accept`, in lower case."""
    weights: dict[str, float] = {}
    for alternative in accept.split(","):
        name, _, parameters = alternative.partition(";")
        weight = _WEIGHT.search(parameters)
        weights.setdefault(name.strip().lower(), float(weight[1]) if weight else 1.0)
    return weights


async def read_body(request: Request, limit: SizeLimit, deadline: float) -> bytes:
    """Read the whole body.

    Args:
        deadline: moment of `time.monotonic()`.
    Raises:
        BodyTooLarge: it is over the limit; raised as soon as this is known.
        BodyTooSlow: it did not arrive before the deadline.
    """
    if int(request.headers.get("content-length", 0)) > limit.bytes:
        raise errors.BodyTooLarge(*limit)
    body = bytearray()
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit.bytes:
                    raise errors.BodyTooLarge(*limit)
    except TimeoutError:
        raise errors.BodyTooSlow from None
    return bytes(body)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Done]) -> Done:
    """Wait for the work, and cancel it when the client disconnects. The body must have been read.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    task = asyncio.current_task()
    assert task is not None
    is_working = True

    def cancel(_: object) -> None:
        if is_working:
            task.cancel()

    # After the body, the only message left is the one that reports a disconnect.
    disconnect = asyncio.ensure_future(request.receive())
    disconnect.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if not disconnect.done():
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        is_working = False
        disconnect.cancel()
