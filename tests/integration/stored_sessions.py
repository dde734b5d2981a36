"""Frames as a session store keeps them, and the calls of a replica that sends and reads them."""

from poselift_service.sessions.store import EMPTY_CURSOR, Append, Outcome, ReplicaCursor, SessionStore, StoreReply

ID, OTHER = f"{1:016x}-{1:032x}", f"{1:016x}-{2:032x}"
OPENING = b'{"any": "bytes"}\x00\xff'
STAMP, OTHER_STAMP = b"\x00one\xff\r\n ", b"\x00another"
TTL_S = 2.0
TIMEOUT_S = 1.0
LONG_S = 60.0


def frames(first: int, stop: int) -> list[bytes]:
    return [b"frame %d \x00\xff" % index for index in range(first, stop)]


async def append(
    store: SessionStore,
    first: int,
    stop: int,
    *,
    held: int | None = None,
    before: int = 1000,
    session_id: str = ID,
) -> StoreReply:
    """Append frames from a replica that holds those before the index `held`.

    Args:
        before: number of frames before the first one that are needed and kept.
    """
    sent = Append(first, frames(first, stop), STAMP, needed_before=before, kept_before=before)
    return await store.advance(session_id, sent, cursor=ReplicaCursor(first if held is None else held, STAMP))


async def kept(store: SessionStore, session_id: str = ID, *, include_ended: bool = False) -> tuple[int, list[bytes]]:
    reply = await store.advance(session_id, None, cursor=EMPTY_CURSOR, include_ended=include_ended)
    assert reply.outcome is Outcome.UNCHANGED
    assert reply.first == reply.kept_first
    return reply.first, list(reply.frames)
