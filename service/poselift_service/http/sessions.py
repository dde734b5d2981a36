"""Live sessions over HTTP: the calls about one session, and its frames one request at a time."""

from typing import Annotated

from fastapi import FastAPI, Path, Request, Response

from poselift_service.codecs.json import live as live_json
from poselift_service.codecs.json.long import LongJson
from poselift_service.http.app import (
    JSON,
    ONE_FRAME,
    error_answers,
    json_body,
    read_body,
    require_json,
    unless_client_leaves,
)
from poselift_service.pipeline.live import LivePoses, LiveSessions
from poselift_service.pipeline.request import Limits
from poselift_service.telemetry.record import RequestRecord

# Some words; what is longer is no opening, and would only take time to parse.
_MAX_OPENING_BYTES = 16 * 1024

SessionId = Annotated[str, Path(description="Identifier that `POST /sessions` gave.")]


def add_sessions(app: FastAPI, live: LiveSessions, *, max_body_bytes: int, deadline_s: float) -> None:
    """Add the calls about sessions to the HTTP interface.

    Args:
        deadline_s: time in which a request is answered or fails.
    """
    long_json = LongJson(Limits(frames=live.max_frames, tracks=1))

    @app.post(
        "/sessions",
        status_code=201,
        tags=["sessions"],
        summary="Open a session: one person's live stream",
        responses=error_answers(404, 408, 413, 415, 422, 429, 503),
        openapi_extra=json_body(live_json.OpeningForm, _OPENING),
    )
    async def open_session(request: Request) -> live_json.SessionAnswer:
        """The session is forgotten when it is not used for a while; the answer says how long."""
        record: RequestRecord = request.state.record
        require_json(request)
        body = await read_body(request, min(_MAX_OPENING_BYTES, max_body_bytes), record.started_s + deadline_s)
        opening, model = live_json.read_opening(body)
        session = await live.open(opening, model)
        return live_json.describe_session(session, expires_in_s=live.ttl_s)

    @app.post(
        "/sessions/{session_id}/frames",
        tags=["sessions"],
        summary="Send the next frames, and get the poses that have become ready",
        response_model=live_json.FramesAnswer,
        responses=error_answers(404, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=json_body(live_json.FramesForm, _FRAMES),
    )
    async def add_frames(session_id: SessionId, request: Request) -> Response:
        """The pose of a frame comes with the answer to the frame that is `lookahead` later.

        When an answer was lost or was an error, what it was for may be sent again, and is answered again: as much as
        came in one request, and at least the last 32 frames. A gap, an older frame, or another frame than the one
        that is there, is refused with `session_conflict`, which changes nothing and says which frame is expected. When
        that is an earlier one than before, the store has lost its newest frames: go on from there.
        """
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        require_json(request)
        body = await read_body(request, max_body_bytes, deadline)
        session = await live.find(session_id)
        first, keypoints = await long_json.read_frames(body, session)
        poses = await unless_client_leaves(request, live.advance(session, first, keypoints, deadline=deadline))
        return _answer(poses, record)

    @app.get(
        "/sessions/{session_id}",
        tags=["sessions"],
        summary="How far a session has come",
        responses=error_answers(404, 422, 503),
    )
    async def session(session_id: SessionId) -> live_json.SessionAnswer:
        """Asking counts as using it."""
        return live_json.describe_session(await live.read(session_id), expires_in_s=live.ttl_s)

    @app.delete(
        "/sessions/{session_id}",
        tags=["sessions"],
        summary="End a session, and get the poses that still waited for later frames",
        response_model=live_json.FramesAnswer,
        responses=error_answers(404, 422, 429, 500, 503, 504),
    )
    async def end_session(session_id: SessionId, request: Request) -> Response:
        """When it fails, the session is still there. For some seconds it may be sent again, and is answered again."""
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        await read_body(request, max_body_bytes, deadline)  # none is expected, but what comes must be out of the way
        return _answer(await unless_client_leaves(request, live.end(session_id, deadline=deadline)), record)


_OPENING = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
_FRAMES = {"frame_index": 0, "keypoints": [ONE_FRAME]}


def _answer(poses: LivePoses, record: RequestRecord) -> Response:
    record.set_result(
        model=poses.session.manifest.name,
        frames=len(poses.targets),
        queue_s=poses.queue_s,
        inference_s=poses.inference_s,
    )
    return Response(live_json.write_poses(poses, total_s=record.elapsed_s), media_type=JSON)
