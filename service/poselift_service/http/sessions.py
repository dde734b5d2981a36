"""Live sessions over HTTP: the calls about one session, and its frames one request at a time."""

import re
from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response

from poselift_service.codecs.json.answers import FramesAnswer, SessionAnswer, describe_session
from poselift_service.codecs.json.forms import FramesForm, OpeningForm
from poselift_service.codecs.json.live import read_frames, read_opening
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.codecs.json.writer import write_poses
from poselift_service.errors import InvalidRequest
from poselift_service.http.body import JSON, cancel_on_disconnect, read_body, require_json
from poselift_service.http.openapi import EXAMPLE_FRAME, error_responses, json_body
from poselift_service.pipeline.checks import NEXT_FRAME_INDEX_REFUSAL
from poselift_service.pipeline.live import LiveLifter, LivePoses
from poselift_service.sessions.session import Caller
from poselift_service.telemetry.record import RequestRecord
from poselift_service.transport.limits import SizeLimit

# An opening is a few words; a longer body would only take time to parse.
_MAX_OPENING = SizeLimit(16 * 1024, setting="")
_OPENING_EXAMPLE = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
_FRAMES_EXAMPLE = {"frame_index": 0, "keypoints": [EXAMPLE_FRAME]}

NextFrameIndex = Annotated[
    str | None,
    Query(
        description="Number of frames that were sent. If the session has fewer, because its store has lost the newest "
        "ones, it does not end: `session_conflict` names the next frame to send."
    ),
]
# More digits would take long to read.
_NUMBER = re.compile("-?[0-9]{1,100}")
SessionId = Annotated[str, Path(description="Identifier returned by `POST /sessions`.")]


def add_sessions(
    app: FastAPI, live: LiveLifter, json_reader: JsonReader, *, max_body: SizeLimit, deadline_s: float
) -> None:
    """Add the calls about sessions to the HTTP interface.

    Args:
        json_reader: shared with the other calls.
        max_body: the largest body.
        deadline_s: time from the first byte of a request to its response or failure.
    """

    @app.post(
        "/sessions",
        status_code=201,
        tags=["sessions"],
        summary="Open a session: one person's live stream",
        responses=error_responses(404, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra=json_body(OpeningForm, _OPENING_EXAMPLE),
    )
    async def open_session(request: Request) -> SessionAnswer:
        """An unused session expires; the response says after how long."""
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        require_json(request)
        body = await read_body(request, min(_MAX_OPENING, max_body), deadline)
        opening, model = read_opening(body)
        session = await live.open(opening, model, _caller(request), deadline=deadline)
        return describe_session(session, expires_in_s=live.ttl_s)

    @app.post(
        "/sessions/{session_id}/frames",
        tags=["sessions"],
        summary="Send the next frames, and get the poses that are ready",
        response_model=FramesAnswer,
        responses=error_responses(404, 408, 409, 413, 415, 422, 429, 500, 503, 504),
        openapi_extra=json_body(FramesForm, _FRAMES_EXAMPLE),
    )
    async def add_frames(session_id: SessionId, request: Request) -> Response:
        """The pose of a frame is in the response to the frame that is `lookahead` frames later.

        When a response was an error or was lost, send its request again: everything that came in one request, and at
        least the last 32 frames, is answered again. A gap, an older frame, or a frame that differs from the stored one
        is refused with `session_conflict`, which changes nothing and says which frame is expected. If that index is
        lower than before, the store has lost its newest frames: continue from there.
        """
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        require_json(request)
        body = await read_body(request, max_body, deadline)
        session = await live.find(session_id, _caller(request), deadline=deadline)
        frames = await read_frames(json_reader, body, session)
        poses = await cancel_on_disconnect(request, live.advance(session, frames, deadline=deadline))
        return _response(poses, record)

    @app.get(
        "/sessions/{session_id}",
        tags=["sessions"],
        summary="Get the state of a session",
        responses=error_responses(404, 422, 503, 504),
    )
    async def session(session_id: SessionId, request: Request) -> SessionAnswer:
        """The call renews the expiry of the session."""
        record: RequestRecord = request.state.record
        read = await live.read(session_id, _caller(request), deadline=record.started_s + deadline_s)
        return describe_session(read, expires_in_s=live.ttl_s)

    @app.delete(
        "/sessions/{session_id}",
        tags=["sessions"],
        summary="End a session, and get the poses that were waiting for later frames",
        response_model=FramesAnswer,
        responses=error_responses(404, 409, 422, 429, 500, 503, 504),
    )
    async def end_session(session_id: SessionId, request: Request, next_frame_index: NextFrameIndex = None) -> Response:
        """After an error the session still exists. For some seconds the call may be repeated, with the same result."""
        record: RequestRecord = request.state.record
        deadline = record.started_s + deadline_s
        await read_body(request, max_body, deadline)  # drains a body, though none is expected
        ending = live.end(session_id, _caller(request), _number(next_frame_index), deadline=deadline)
        return _response(await cancel_on_disconnect(request, ending), record)


def _number(next_frame_index: str | None) -> int | None:
    if next_frame_index is None:
        return None
    if not _NUMBER.fullmatch(next_frame_index):
        raise InvalidRequest(NEXT_FRAME_INDEX_REFUSAL, path="next_frame_index")
    return int(next_frame_index)


def _caller(request: Request) -> Caller:
    record: RequestRecord = request.state.record
    return Caller(record.key, record.peer)


def _response(poses: LivePoses, record: RequestRecord) -> Response:
    record.set_result(
        model=poses.session.manifest.name,
        frames=len(poses.targets),
        queue_s=poses.queue_s,
        inference_s=poses.inference_s,
    )
    return Response(write_poses(poses, total_s=record.elapsed_s), media_type=JSON)
