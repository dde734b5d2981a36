"""Live sessions over gRPC: the calls about one session, and its frames as a stream."""

from collections.abc import Awaitable, Callable
from functools import partial

from poselift.errors import PoseliftError
from poselift.pb import lifter_pb2 as pb
from poselift_service.codecs.protobuf.live import (
    ProtobufSharedCodec,
    ProtobufStreamCodec,
    read_end,
    read_opening,
    read_session_id,
    write_last_poses,
    write_session,
)
from poselift_service.errors import ServiceError
from poselift_service.grpc.call import Call, Methods
from poselift_service.pipeline.live import LiveLifter
from poselift_service.sessions.session import Caller
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream
from poselift_service.transport.shared_stream import SharedStream
from poselift_service.transport.streams import Streams


def session_methods(live: LiveLifter, streams: Streams, *, metrics: Metrics, deadline_s: float) -> Methods:
    """Build the methods about sessions.

    Args:
        deadline_s: time from the reading of a message of a stream to its reply or failure.
    """

    codec, shared_codec = ProtobufStreamCodec(live.limits), ProtobufSharedCodec(live.limits)

    async def create_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        opening, model = read_opening(body)
        session = await live.open(opening, model, Caller(record.key, record.peer), deadline=deadline)
        return write_session(session, pb.CreateSessionResponse, expires_in_s=live.ttl_s)

    async def get_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        session = await live.read(read_session_id(body), Caller(record.key, record.peer), deadline=deadline)
        return write_session(session, pb.GetSessionResponse, expires_in_s=live.ttl_s)

    async def delete_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        session_id, sent = read_end(body)
        poses = await live.end(session_id, Caller(record.key, record.peer), sent, deadline=deadline)
        record.set_result(
            model=poses.session.manifest.name,
            frames=len(poses.targets),
            queue_s=poses.queue_s,
            inference_s=poses.inference_s,
        )
        return write_last_poses(poses, total_s=record.elapsed_s)

    async def lift_stream(call: Call) -> None:
        lifting = LiveStream(live, call.record, metrics, deadline_s=deadline_s)
        await answer_all(call, partial(lifting.answer, codec), lambda: lifting.has_ended)

    async def lift_streams(call: Call) -> None:
        lifting = SharedStream(live, call.record, metrics, deadline_s=deadline_s)
        await answer_all(call, partial(lifting.answer, shared_codec), lambda: False)

    async def answer_all(
        call: Call, answer: Callable[[bytes], Awaitable[bytes]], has_ended: Callable[[], bool]
    ) -> None:
        with (
            streams.admit(call.record.peer, hides_arriving_bytes=True) as stream,
            metrics.track_stream(call.record.transport),
        ):
            try:
                # One message at a time: later ones are not read, so backpressure reaches the client.
                while not has_ended() and (body := await stream.read(call.read)) is not None:
                    await stream.write(call.write(await answer(body)))
            except (PoseliftError, ServiceError) as error:
                # Inside, so that a client that does not read its error keeps its place until it does, or leaves.
                await call.refuse(error)

    return Methods(
        unary={"CreateSession": create_session, "GetSession": get_session, "DeleteSession": delete_session},
        streams={"LiftStream": lift_stream, "LiftStreams": lift_streams},
    )
