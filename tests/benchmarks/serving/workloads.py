"""What the clients send: a person who walks on the spot, as clips, as single windows and as live frames."""

from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from poselift.pb import lifter_pb2 as pb
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints

FPS = 50.0
CONTENT_TYPES = {"json": "application/json", "protobuf": "application/x-protobuf"}


def clip(frames: int) -> NDArray[np.float64]:
    """Keypoints [F, J, 3] with the precision that detectors write."""
    return np.round(keypoints(at_rate(FPS, frames)), 2)


def as_json(points: NDArray[np.float64], model: str, *, fps: float = FPS, target: int | None = None) -> bytes:
    """The body of POST /lift; with a target only that frame is answered."""
    body = {"keypoints": points.tolist(), "skeleton": "coco17", "image_size": IMAGE_SIZE, "fps": fps, "model": model}
    return orjson.dumps(body if target is None else {**body, "targets": [target]})


def as_protobuf(points: NDArray[np.float64], model: str, *, fps: float = FPS, target: int | None = None) -> bytes:
    """The same as a LiftRequest."""
    return pb.LiftRequest(
        keypoints=points.ravel().tolist(),
        skeleton="coco17",
        image_size=_image_size(),
        fps=fps,
        model=model,
        targets=[] if target is None else [target],
    ).SerializeToString()


def opening(model: str) -> bytes:
    """A CreateSessionRequest for a causal stream."""
    return pb.CreateSessionRequest(
        skeleton="coco17", image_size=_image_size(), fps=FPS, model=model, lookahead=0
    ).SerializeToString()


def write_stream(path: Path, frames: int) -> None:
    """LiftStreamRequests of one frame each, without the session's name; a line of hexadecimal each."""
    person = clip(500)
    lines = [
        pb.LiftStreamRequest(
            frames=[pb.Frame(frame_index=index, keypoints=person[index % len(person)].ravel().tolist())]
        )
        .SerializeToString()
        .hex()
        for index in range(frames)
    ]
    path.write_text("\n".join(lines))


def _image_size() -> pb.ImageSize:
    return pb.ImageSize(width_px=IMAGE_SIZE[0], height_px=IMAGE_SIZE[1])
