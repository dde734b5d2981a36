"""POST /complete: 3D poses of a whole clip with their missing joints filled in."""

from typing import Any

from fastapi import FastAPI, Request, Response

from poselift_service.codecs.json.forms import CompleteForm
from poselift_service.http.clips import ClipCalls, add_clip_call
from poselift_service.http.openapi import clip_call
from poselift_service.pipeline.lift import Pipeline

_EXAMPLE_POSE = [
    [0.0, 0.0, 0.0], [-0.132, 0.006, 0.021], [-0.141, 0.446, 0.064], [-0.129, 0.892, 0.187],
    [0.132, -0.006, -0.021], [0.149, 0.431, -0.043], [0.152, 0.874, 0.091],
    [0.004, -0.231, 0.017], [0.011, -0.487, 0.006], [0.019, -0.553, -0.082], [0.017, -0.668, -0.064],
    [0.158, -0.432, -0.031], [0.241, -0.168, -0.062], [0.262, 0.063, -0.127],
    [-0.137, -0.441, 0.044], [-0.213, -0.179, 0.071], [-0.231, 0.058, 0.011],
]  # fmt: skip
_EXAMPLES: dict[str, Any] = {
    "one person": {
        "summary": "Two frames of one person, whose left wrist is missing in the second",
        "value": {
            "poses": [_EXAMPLE_POSE, [*_EXAMPLE_POSE[:13], None, *_EXAMPLE_POSE[14:]]],
            "skeleton": "h36m17",
            "fps": 50,
        },
    },
}


def add_complete(app: FastAPI, pipeline: Pipeline, calls: ClipCalls) -> None:
    """Add `POST /complete` to the HTTP interface."""

    async def complete(request: Request) -> Response:
        """The poses of the request, with missing joints filled in and marked in `imputed`; given joints are unchanged.

        Only models whose `task` is `complete` do this. The body may also be a `poselift.v1.CompleteRequest`, and
        the response a `CompleteResponse`, as for `POST /lift`.
        """
        return await calls.respond(request, lambda codec, body: codec.read_complete(body), pipeline.complete)

    documentation = clip_call("Complete", CompleteForm, _EXAMPLES)
    add_clip_call(app, "/complete", complete, "Fill in the missing joints of 3D poses", documentation)
