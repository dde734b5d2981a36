"""Compressed bodies (gzip): those of requests, within the limits of all bodies, and those of answers."""

import asyncio
import zlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poselift_service.errors import InvalidRequest
from poselift_service.http.body import weights_of

GZIP = "gzip"
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# What a body is expanded by at a time: a fraction of a millisecond, and little memory whatever it expands to.
_PIECE_BYTES = 64 * 1024
# Less is not worth the header; more is compressed in a thread, because it would hold the event loop.
_MIN_ANSWER_BYTES, _MAX_BYTES_ON_LOOP = 4 * 1024, 16 * 1024
# Digits hardly shrink any further with more effort.
_LEVEL = 1
# Everything else that the server answers with (packed floats, pictures) hardly shrinks.
_TEXTS = ("application/json", "application/javascript", "image/svg+xml")


class GunzipMiddleware:
    """Expands the bodies of requests piece by piece as they are read, so that whoever reads them can stop in time.

    Limits of a body therefore hold for the expanded one, and nothing larger is ever in memory.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _encodings(Headers(scope=scope)) == [GZIP]:
            headers = MutableHeaders(raw=list(scope["headers"]))
            del headers["content-encoding"]
            del headers["content-length"]
            scope = {**scope, "headers": headers.raw}
            receive = _GzippedBody(receive).receive
        await self._app(scope, receive, send)


class _GzippedBody:
    """The body of one request, expanded."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gzip = zlib.decompressobj(_GZIP_FORMAT)
        self._compressed = b""
        self._has_arrived = self._is_complete = False

    async def receive(self) -> Message:
        """The next piece of the expanded body, then whatever else the connection says.

        Raises:
            InvalidRequest: the body is not in gzip, or not whole.
        """
        while not self._is_complete:
            if self._compressed or self._has_arrived:
                await asyncio.sleep(0)  # each piece takes some time
            else:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._compressed, self._has_arrived = message.get("body", b""), not message.get("more_body", False)
            piece = self._next_piece()
            self._is_complete = self._has_arrived and self._gzip.eof
            if piece or self._is_complete:
                return {"type": "http.request", "body": piece, "more_body": not self._is_complete}
        return await self._receive()

    def _next_piece(self) -> bytes:
        compressed, self._compressed = self._compressed, b""
        if self._gzip.eof:
            if compressed:
                raise InvalidRequest("The body goes on after the end of its gzip data.")
            return b""
        try:
            piece = self._gzip.decompress(compressed, _PIECE_BYTES)
        except zlib.error:
            raise InvalidRequest("The body is said to be in gzip, and is not.") from None
        self._compressed = self._gzip.unconsumed_tail or self._gzip.unused_data
        if self._has_arrived and not (piece or self._compressed or self._gzip.eof):
            raise InvalidRequest("The gzip data of the body ends too early.")
        return piece


class GzipMiddleware:
    """Compresses long answers for clients that accept gzip.

    Starlette's own compresses on the event loop: a long answer would hold all live streams for a part of a second.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            accepted = weights_of(Headers(scope=scope).get("accept-encoding", ""))
            send = _Answer(send, is_accepted=accepted.get(GZIP, 0) > 0).send
        await self._app(scope, receive, send)


class _Answer:
    """One answer, compressed if it can be."""

    def __init__(self, send: Send, *, is_accepted: bool) -> None:
        self._send = send
        self._is_accepted = is_accepted
        self._start: Message | None = None
        self._gzip: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        """Pass a message of the answer on; its start waits for the first part of its body."""
        if message["type"] == "http.response.start" and self._can_shrink(message):
            self._start = message
        elif message["type"] == "http.response.body" and (self._start is not None or self._gzip is not None):
            await self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            await self._send(message)

    def _can_shrink(self, start: Message) -> bool:
        headers = MutableHeaders(raw=start["headers"])
        media_type = headers.get("content-type", "").partition(";")[0].strip()
        is_text = media_type.startswith("text/") or media_type in _TEXTS
        if start["status"] != 200 or "content-encoding" in headers or not is_text:
            return False
        headers.add_vary_header("accept-encoding")
        return self._is_accepted

    async def _send_body(self, body: bytes, *, is_last: bool) -> None:
        start, self._start = self._start, None
        if start is not None and (not is_last or len(body) >= _MIN_ANSWER_BYTES):
            self._gzip = zlib.compressobj(_LEVEL, wbits=_GZIP_FORMAT)
        if self._gzip is not None:
            if len(body) <= _MAX_BYTES_ON_LOOP:
                body = _compress(self._gzip, body, is_last)
            else:
                body = await asyncio.to_thread(_compress, self._gzip, body, is_last)
        if start is not None:
            await self._send(start if self._gzip is None else _compressed_start(start, len(body) if is_last else None))
        await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})


def _compress(gzip: "zlib._Compress", body: bytes, is_last: bool) -> bytes:
    return gzip.compress(body) + (gzip.flush() if is_last else b"")


def _compressed_start(start: Message, body_bytes: int | None) -> Message:
    """The start of a compressed answer; its length is None until all of it is there."""
    headers = MutableHeaders(raw=start["headers"])
    headers["content-encoding"] = GZIP
    del headers["content-length"]
    if body_bytes is not None:
        headers["content-length"] = str(body_bytes)
    return {**start, "headers": headers.raw}


def _encodings(headers: Headers) -> list[str]:
    """The encodings of a body, but those that change nothing."""
    named = ",".join(headers.getlist("content-encoding")).lower().split(",")
    return [encoding for given in named if (encoding := given.strip()) not in ("", "identity")]
