"""Pipelined requests: how much of what a client has sent is parsed, and when its socket is read."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

# Requests that wait behind the one that is being answered; what a client sends beyond them is not parsed yet.
MAX_WAITING = 4
# A header ends with it, and so does a body in chunks; no request is complete without it.
_END = b"\r\n\r\n"
# Bytes of a body in chunks that are parsed at a time; a chunk may have a single byte.
CHUNKS_BYTES = 4 * 1024


class GatedFlowControl(FlowControl):
    """uvicorn's flow control, which reads nothing more while bytes are held back that have not been parsed.

    uvicorn resumes reading after each response, although other requests may wait in its pipeline.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.is_closed = False

    def close_gate(self) -> None:
        """Stop reading, whoever asks to resume."""
        self.is_closed = True
        self.pause_reading()

    def open_gate(self) -> None:
        """Let reading resume when it is asked for."""
        self.is_closed = False

    def resume_reading(self) -> None:
        if not self.is_closed:
            super().resume_reading()


def next_piece(data: bytes, start: int, requests: int) -> int:
    """Find how far data can be parsed without completing more than some requests.

    Returns:
        The end of the piece: behind the last request that may be complete, or of all data.
    """
    end = start
    for _ in range(requests):
        found = data.find(_END, end)
        if found < 0:
            return len(data)
        end = found + len(_END)
    return end


def body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Give the length of a body by the header of its request, or None for a body in chunks."""
    length: int | None = 0
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            length = None
    return length
