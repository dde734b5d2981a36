"""Live sessions over gRPC: the calls about one session, and its frames as a stream."""

from poselift.errors import PoseliftError
from poselift.pb import lifter_pb2 as pb
from poselift_service.codecs.protobuf import live as protobuf_live
from poselift_service.errors import ServiceError
from poselift_service.grpc.server import Context, RpcServer
from poselift_service.pipeline.live import LiveSessions
from poselift_service.telemetry.metrics import Metrics
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.live_stream import LiveStream
from poselift_service.transport.streams import Streams


def add_session_calls(
    server: RpcServer, live: LiveSessions, streams: Streams, *, metrics: Metrics, deadline_s: float
) -> None:
    """Add the calls about sessions to the gRPC interface.

    Args:
        deadline_s: time in which a message of a stream is answered or fails.
    """

    async def create_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        opening, model = protobuf_live.read_opening(body)
        session = await live.open(opening, model)
        return protobuf_live.write_session(session, pb.CreateSessionResponse, expires_in_s=live.ttl_s)

    async def get_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        session = await live.read(protobuf_live.read_session_id(body, pb.GetSessionRequest))
        return protobuf_live.write_session(session, pb.GetSessionResponse, expires_in_s=live.ttl_s)

    async def delete_session(body: bytes, record: RequestRecord, deadline: float) -> bytes:
        poses = await live.end(protobuf_live.read_session_id(body, pb.DeleteSessionRequest), deadline=deadline)
        record.set_result(
            model=poses.session.manifest.name,
            frames=len(poses.targets),
            queue_s=poses.queue_s,
            inference_s=poses.inference_s,
        )
        return protobuf_live.write_last_poses(poses, total_s=record.elapsed_s)

    async def lift_stream(record: RequestRecord, context: Context) -> None:
        lifting = LiveStream(live, record, metrics, deadline_s=deadline_s)
        with streams.admit() as stream, metrics.track_stream(record.transport):
            try:
                # One message after another: those that come meanwhile stay with the client, or on the way.
                while not lifting.has_ended and isinstance(body := await stream.read(context.read), bytes):
                    server.check_size(body)
                    await stream.write(context.write(await lifting.answer(protobuf_live, body)))
            except (PoseliftError, ServiceError) as error:
                # In here, because a client that does not read keeps its place until it takes the error, or leaves.
                await server.refuse(context, record, error)

    server.add_calls(
        {"CreateSession": create_session, "GetSession": get_session, "DeleteSession": delete_session},
        {"LiftStream": lift_stream},
    )
