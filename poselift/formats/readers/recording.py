"""The result of every keypoint reader: the people in a file, frame by frame, before any array is made of them."""

import math
from collections.abc import Mapping
from collections.abc import Sequence as Frames
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.camera_fields import CameraFields, PersonFields, camera_from, person_from
from poselift.coordinates import Coordinates, shares_to_pixels
from poselift.errors import InvalidFile, InvalidKeypoints
from poselift.formats.readers.detection import Detection, number
from poselift.formats.readers.frame_files import MAX_FRAME_NUMBER
from poselift.formats.readers.joint_counts import check_counts
from poselift.input_warnings import InputWarning
from poselift.missing import MISSING
from poselift.sequence import Sequence
from poselift.skeletons import SKELETONS, skeleton


class Person(NamedTuple):
    """One person in one frame; `identity` comes from a tracker, and is None without one."""

    identity: str | None
    detection: Detection


class PeopleByFrame(NamedTuple):
    """The people of each frame, in a file that does not list them person by person."""

    frames: Frames[Frames[Person]]


People = Frames[tuple[str | None, Frames[Detection | None]]]
"""For each person an identity and its detections, None in a frame without the person."""


class Track(NamedTuple):
    """One person of a recording.

    `track_id` is None if the file holds one person without an identity; `first_frame` is the number that the file gives
    the sequence's first frame.
    """

    track_id: str | None
    sequence: Sequence
    first_frame: int = 0


@dataclass(frozen=True)
class Recording:
    """The content of a file; fields that the file leaves to the caller are None.

    Attributes:
        people: person by person, or frame by frame until they are followed over time.
        fps: frame rate in Hz.
        image_size: width and height in pixels.
        timestamps_s: one per frame, instead of a frame rate.
        first_frame: number of the first frame; detectors omit the frames before the first detection.
        coordinates: `pixels`, or `normalised` for shares of the picture, which are multiplied by its size.
        person_choice: who of them is meant, as `poselift.person_choice.choose` takes it.
        camera, person: what is known of the camera, and of everybody.
        persons: what is known of single people, by identity.
        strict: whether to refuse what would otherwise be a warning.
        warnings: what the reader noticed that is likely not what the user meant.
    """

    people: People | PeopleByFrame
    skeleton: str | None = None
    fps: float | None = None
    image_size: tuple[float, float] | None = None
    timestamps_s: Frames[float] | None = None
    first_frame: int = 0
    coordinates: Coordinates | None = None
    strict: bool = False
    person_choice: str | None = None
    warnings: Frames[InputWarning] = ()
    camera: CameraFields | None = None
    person: PersonFields | None = None
    persons: Mapping[str, PersonFields] = field(default_factory=dict)

    def overridden(
        self,
        skeleton: str | None,
        fps: float | None,
        image_size: tuple[float, float] | None,
        coordinates: Coordinates | None = None,
        camera: CameraFields | None = None,
        person: PersonFields | None = None,
    ) -> "Recording":
        """The same recording with what the caller gives in place of what the file says or leaves open."""
        if camera is not None and self.camera is not None:
            camera = self.camera.overridden(camera)
        return replace(
            self,
            camera=camera or self.camera,
            person=person or self.person,
            persons={} if person else self.persons,
            warnings=tuple(one for one in self.warnings if not (skeleton and one.code == "skeleton_guessed")),
            skeleton=skeleton or self.skeleton,
            fps=fps or self.fps,
            image_size=image_size or self.image_size,
            timestamps_s=None if fps else self.timestamps_s,
            coordinates=coordinates or self.coordinates,
        )

    def tracks(self) -> list[Track]:
        """Make a sequence of each person's detections; people have to be followed before.

        Raises:
            InvalidFile: the skeleton, the frame rate or the image size is unknown.
            UnknownSkeleton, InvalidKeypoints: see `Sequence`.
        """
        assert not isinstance(self.people, PeopleByFrame)
        detections = [one for _, row in self.people for one in row if one is not None]
        check_counts(detections, self.skeleton)
        check_known(
            n_joints=len(detections[0].joints) if detections else None,
            skeleton=self.skeleton,
            fps=self.fps or self.timestamps_s,
            image_size=self.image_size,
        )
        assert self.skeleton is not None
        assert self.image_size is not None
        width_px, height_px = self.image_size
        source = skeleton(self.skeleton)
        camera, everybody = camera_from(self.camera, width_px, height_px), person_from(self.person)
        tracks = []
        for track_id, row in self.people:
            keypoints = _keypoints(row, source.n_joints)
            if self.coordinates == "normalised":
                keypoints = shares_to_pixels(keypoints, width_px, height_px)
            times_s = times_of(len(keypoints), self.fps, self.timestamps_s)
            person = person_from(self.persons.get(track_id or ""), everybody)
            sequence = Sequence(keypoints, source, width_px, height_px, times_s, camera, person)
            tracks.append(Track(track_id, sequence, self.first_frame))
        return tracks


# How each thing that a file may leave to its reader is called, and its option.
_ASKED_FOR = {
    "skeleton": ("skeleton", "--skeleton {names}"),
    "fps": ("frame rate", "--fps HZ"),
    "image_size": ("image size", "--image-size WxH"),
}


def check_known(*, n_joints: int | None = None, **known: Any) -> None:
    """Ask for all that is missing at once.

    Args:
        n_joints: number of joints of each person, if it is known.
        known: by the names of fields, what is known of a file; None for what is not.
    Raises:
        InvalidFile: something is missing; one sentence names all of it, and `path` the first.
    """
    missing = [field for field, value in known.items() if value is None]
    if not missing:
        return
    names, options = zip(*(_ASKED_FOR[field] for field in missing), strict=True)
    *first, last = [f"the {name}" for name in names]
    subject = f"{', '.join(first)} and {last} are" if first else f"{last} is"
    fitting = [each.name for each in SKELETONS.values() if n_joints in (None, each.n_joints)]
    asked = ", ".join(options).format(names="|".join(fitting))
    raise InvalidFile(f"{subject} not known; give {'them' if first else 'it'} ({asked}).", path=missing[0])


def times_of(frames: int, fps: float | None, timestamps_s: Frames[float] | None) -> NDArray[np.float64]:
    """Times in seconds from the first frame on, [F]; relative ones, so that times of day keep their precision.

    Args:
        fps, timestamps_s: at least one of them is known.
    Raises:
        InvalidKeypoints: the frame rate is not positive.
    """
    if timestamps_s is not None:
        times_s = np.asarray(timestamps_s, dtype=np.float64)
        return times_s - times_s[:1]
    assert fps is not None, "check_known asks for it"
    return Sequence.times_at(fps, frames)


def _keypoints(detections: Frames[Detection | None], n_joints: int) -> NDArray[np.float32]:
    """Keypoints [F, J, 3] of one person; NaN positions and score 0 where a joint or the person is missing."""
    keypoints = np.full((len(detections), n_joints, 3), MISSING, dtype=np.float32)
    for frame, detection in enumerate(detections):
        if detection is None:
            continue
        keypoints[frame] = detection.joints
    return keypoints


def positive(value: Any, field: str) -> float | None:
    """A number above 0, or None if the file has none. Raises as `number`."""
    if value is None:
        return None
    if not number(value, field) > 0:
        raise InvalidKeypoints(f"{field} must be above 0, not {value}.", path=field)
    return float(value)


def whole(value: Any, field: str) -> int | None:
    """A whole number of at most the size of a frame's number, or None if the file has none.

    Raises:
        InvalidKeypoints: the value is something else.
    """
    if value is not None and (type(value) is not int or abs(value) > MAX_FRAME_NUMBER):
        raise InvalidKeypoints(f"{field} must be a whole number, not {value!r:.40}.", path=field)
    return value


def size_px(value: Any, field: str) -> tuple[float, float] | None:
    """`[width, height]`, or None if the file has none. Raises as `number`."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidKeypoints(f"{field} must be [width, height] in pixels, not {value!r:.40}.", path=field)
    width, height = (positive(side, f"{field}[{axis}]") for axis, side in enumerate(value))
    if width is None or height is None:
        raise InvalidKeypoints(f"{field} must be [width, height] in pixels, not {value!r:.40}.", path=field)
    return width, height


def name(value: Any, field: str) -> str | None:
    """A text, or None if the file has none.

    Raises:
        InvalidKeypoints: the value is something else.
    """
    if value is not None and not isinstance(value, str):
        raise InvalidKeypoints(f"{field} must be a text, not {value!r:.40}.", path=field)
    return value


class NumberedFrames(NamedTuple):
    """Frames in the order of their numbers.

    Attributes:
        frames: one entry per frame, None for a number that is missing.
        first_frame: number of the first.
        warnings: that the numbers were read as consecutive ones though they are not.
    """

    frames: list[Any]
    first_frame: int
    warnings: tuple[InputWarning, ...] = ()


def by_frame_number(found: dict[int, Any], *, step: int | None = None) -> NumberedFrames:
    """Frames from the first number to the last.

    Numbers that all differ by multiples of the same step are those of a video of which only some pictures were looked
    at: nothing is missing between them, so they are taken as consecutive.

    Args:
        found: what is in a frame, by the frame's number.
        step: of the numbers; None to find it.
    Raises:
        InvalidFile: the gaps are so large that the frames cannot be those of one video.
    """
    first, last = min(found), max(found)
    step = step or _step(sorted(found))
    if (last - first) // step >= 1000 + 100 * len(found):
        raise InvalidFile(f"{len(found)} frames are numbered from {first} to {last}; they are not of one video.")
    frames = [found.get(frame) for frame in range(first, last + 1, step)]
    if step == 1:
        return NumberedFrames(frames, first)
    message = (
        f"The frames are numbered from {first} to {last} in steps of {step}; they were taken as {len(frames)} "
        "consecutive frames, so the frame rate (--fps) must be theirs, not that of the video; number them 0, 1, 2, ... "
        "to be clear."
    )
    return NumberedFrames(frames, first, (InputWarning("frame_step", message),))


def _step(numbers: list[int]) -> int:
    """The step by which frame numbers were counted; 1 if they may as well have it by chance.

    Few detections may have a divisor in common without a step: at least half of the steps must be there, and all of
    them where there are fewer than six.
    """
    step = math.gcd(*(number - numbers[0] for number in numbers))
    if len(numbers) < 3 or step < 2:
        return 1
    steps = (numbers[-1] - numbers[0]) // step + 1
    return step if steps == len(numbers) or (len(numbers) >= 6 and steps <= 2 * len(numbers)) else 1
