"""One person's video in one JSON file: image size, frame rate, skeleton, and a list of numbered frames."""

from typing import Any

from poselift.errors import InvalidFile
from poselift.formats.readers.detection import Detection
from poselift.formats.readers.recording import Recording, by_frame_number, name, positive, size_px


def is_clip(document: Any) -> bool:
    """Whether a document is a clip with numbered frames."""
    return isinstance(document, dict) and isinstance(document.get("frames"), list)


def read_clip(document: dict[str, Any]) -> Recording:
    """Read `{"image_width", "image_height", "fps", "skeleton", "frames": [{"frame", "keypoints": rows or null}]}`.

    Frames may be in any order; a missing number is a frame without the person.

    Raises:
        InvalidFile, InvalidKeypoints: the message names the field.
    """
    found: dict[int, Detection | None] = {}
    for index, frame in enumerate(document["frames"]):
        field = f"frames[{index}]"
        if not isinstance(frame, dict) or "keypoints" not in frame or type(frame.get("frame", index)) is not int:
            raise InvalidFile(f"{field} must have keypoints and, if at all, a whole number as frame.", path=field)
        frame_number = frame.get("frame", index)
        if frame_number in found:
            raise InvalidFile(f"{field}: there is already a frame {frame_number}.", path=f"{field}.frame")
        joints = frame["keypoints"]
        found[frame_number] = None if joints is None else Detection.of_rows(joints, f"{field}.keypoints")
    if not found:
        raise InvalidFile("frames is empty.", path="frames")
    numbered = by_frame_number(found, step=1)  # the frame rate that a clip says is that of its numbers
    size = [document.get("image_width"), document.get("image_height")]
    return Recording(
        [(None, numbered.frames)],
        first_frame=numbered.first_frame,
        skeleton=name(document.get("skeleton"), "skeleton"),
        fps=positive(document.get("fps"), "fps"),
        image_size=size_px(size if any(side is not None for side in size) else None, "image_width, image_height"),
    )
