"""POST /lift: 2D keypoints of a whole clip to 3D poses."""

from typing import Any

from fastapi import FastAPI, Request, Response

from poselift_service.codecs.json.forms import LiftForm
from poselift_service.http.clips import ClipCalls, add_clip_call
from poselift_service.http.openapi import EXAMPLE_FRAME, clip_call
from poselift_service.pipeline.lift import Pipeline

_EXAMPLES: dict[str, Any] = {
    "one person": {
        "summary": "Two frames of one person; the right ankle was not detected",
        "value": {
            "keypoints": [EXAMPLE_FRAME, EXAMPLE_FRAME],
            "skeleton": "coco17",
            "image_size": [1080, 1920],
            "fps": 30,
        },
    },
    "several people": {
        "summary": "Two people, the second not yet in view in the first frame",
        "value": {
            "tracks": [
                {"track_id": "7", "keypoints": [EXAMPLE_FRAME, EXAMPLE_FRAME]},
                {"track_id": "8", "keypoints": [None, EXAMPLE_FRAME]},
            ],
            "skeleton": "coco17",
            "image_size": [1080, 1920],
            "timestamps_s": [0.0, 0.04],
        },
    },
}


def add_lift(app: FastAPI, pipeline: Pipeline, calls: ClipCalls) -> None:
    """Add `POST /lift` to the HTTP interface."""

    async def lift(request: Request) -> Response:
        """One pose per input frame, at the caller's frame rate, in metres relative to the pelvis.

        The body may also be a `poselift.v1.LiftRequest`, as `application/x-protobuf`. The response has the media
        type that `accept` prefers, otherwise that of the request; errors are always JSON.
        """
        return await calls.respond(request, lambda codec, body: codec.read_lift(body), pipeline.lift)

    documentation = clip_call("Lift", LiftForm, _EXAMPLES)
    add_clip_call(app, "/lift", lift, "Lift 2D keypoints to 3D poses", documentation)
