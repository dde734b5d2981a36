"""Read any file of 2D keypoints. The kind of file is recognised by its content, not by its name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from poselift.camera_fields import CameraFields, PersonFields
from poselift.coordinates import Coordinates
from poselift.errors import InvalidFile, PoseliftError, printable
from poselift.formats.readers.archives.archive import is_npz
from poselift.formats.readers.archives.keypoints import (
    is_npy,
    is_pickle,
    read_keypoint_npy,
    read_keypoint_npz,
    read_keypoint_pickle,
)
from poselift.formats.readers.json.clip import is_clip, read_clip
from poselift.formats.readers.json.coco import is_coco_results, read_coco_results
from poselift.formats.readers.json.coco_annotations import is_coco_annotations, read_coco_annotations
from poselift.formats.readers.json.folder import read_frame_folder
from poselift.formats.readers.json.frames import (
    is_frame,
    is_frames,
    is_named_frames,
    read_frame,
    read_frames,
    read_named_frames,
)
from poselift.formats.readers.json.json_file import parse_json
from poselift.formats.readers.json.mmpose import is_mmpose, read_mmpose
from poselift.formats.readers.json.request import is_lift_request, read_lift_request
from poselift.formats.readers.people import follow_people
from poselift.formats.readers.recording import Recording, Track
from poselift.formats.readers.tables.deeplabcut import is_deeplabcut, read_deeplabcut
from poselift.formats.readers.tables.hdf5 import is_hdf5, read_hdf5
from poselift.formats.readers.tables.labels import is_label_folder, is_labels, read_label_folder, read_labels
from poselift.formats.readers.tables.long import is_long, read_long
from poselift.formats.readers.tables.table import Table, is_table, parse_table
from poselift.formats.readers.tables.trc import is_trc, read_trc
from poselift.formats.readers.tables.wide import is_wide, read_wide
from poselift.formats.readers.text_file import read_text
from poselift.input_warnings import InputWarning, refuse_any
from poselift.plausibility import Person, check_plausibility

# Told apart by the first bytes of a file.
_BINARY_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Recording]], ...] = (
    (is_npz, read_keypoint_npz),
    (is_npy, read_keypoint_npy),
    (is_pickle, read_keypoint_pickle),
    (is_hdf5, read_hdf5),
)

_TEXT_READERS: tuple[tuple[Callable[[str], bool], Callable[[str], Recording]], ...] = (
    (is_trc, read_trc),
    (is_labels, read_labels),
)

_TABLE_READERS: tuple[tuple[Callable[[Table], bool], Callable[[Table], Recording]], ...] = (
    (is_deeplabcut, read_deeplabcut),
    (is_long, read_long),
    (is_wide, read_wide),
)

# The first test that a document passes chooses its reader.
_JSON_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Recording]], ...] = (
    (is_coco_annotations, read_coco_annotations),
    (is_named_frames, read_named_frames),
    (is_mmpose, read_mmpose),
    (is_frame, read_frame),
    (is_frames, read_frames),
    (is_lift_request, read_lift_request),
    (is_clip, read_clip),
    (is_coco_results, read_coco_results),
)


class KeypointFile(NamedTuple):
    """The people of a file, and what is likely wrong with it.

    Attributes:
        tracks: one per person, all over the same frames unless the file gives each person its own.
        warnings: empty for a file with nothing unusual.
    """

    tracks: list[Track]
    warnings: tuple[InputWarning, ...]


def read_keypoints(
    path: Path,
    *,
    skeleton: str | None = None,
    fps: float | None = None,
    image_size: tuple[float, float] | None = None,
    coordinates: Coordinates | None = None,
    track: bool = False,
    person: str | None = None,
    strict: bool = False,
    camera: CameraFields | None = None,
    about: PersonFields | None = None,
) -> KeypointFile:
    """Read the people of a detector's file, or of a folder with a file per frame.

    What is readable stands in the tables above and in docs/files.md. Arguments override what the file says.

    Args:
        skeleton: name of the skeleton; needed if the file does not say it.
        fps: frame rate in Hz, likewise.
        image_size: width and height in pixels, likewise.
        coordinates: `pixels`, or `normalised` for shares of the picture; None for what the file says, or pixels.
        track: follow people by where they are, also where the file has identities.
        person: who of them is read: one of `poselift.person_choice.CHOICES`, or an identity; None for everybody,
            unless the file says it.
        strict: whether to refuse what would otherwise be a warning.
        camera: what is known of it, in place of what the file says of the same.
        about: what is known of everybody who is read.
    Raises:
        InvalidFile, InvalidKeypoints, UnknownSkeleton, UnknownPerson: the message names the file and the field.
    """
    with naming(path):
        recording = _read_recording(path).overridden(skeleton, fps, image_size, coordinates, camera, about)
        recording = follow_people(recording, track=track, choice=person)
        tracks = recording.tracks()
        people = [Person(None, one.sequence) for one in tracks]
        implausible = check_plausibility(people, timing="fps" if recording.timestamps_s is None else "timestamps_s")
        noticed = (*recording.warnings, *implausible)
        warnings = tuple(replace(one, message=printable(one.message)) for one in noticed)
        if strict or recording.strict:
            refuse_any(warnings)
        return KeypointFile(tracks, warnings)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Prefix errors about the content of a file with its path; a file that cannot be read is an InvalidFile."""
    try:
        yield
    except PoseliftError as error:
        raise type(error)(f"{path}: {printable(error.message)}", path=error.path) from error
    except OSError as error:
        raise InvalidFile(f"{path}: it cannot be read: {error.strerror}.") from error


def _read_recording(path: Path) -> Recording:
    if path.is_dir():
        return read_label_folder(path) if is_label_folder(path) else read_frame_folder(path)
    for is_kind, read in _BINARY_READERS:
        if is_kind(path):
            return read(path)
    text = read_text(path)
    for is_text, read_from_text in _TEXT_READERS:
        if is_text(text):
            return read_from_text(text)
    if not text.lstrip().startswith(("{", "[")) and is_table(text):
        return _read_table(parse_table(text))
    document = parse_json(text)
    for is_form, reader in _JSON_READERS:
        if is_form(document):
            return reader(document)
    raise InvalidFile(
        "its form is not known; readable are a body of POST /lift, a clip with numbered frames, OpenPose, Ultralytics, "
        "MMPose, AlphaPose, MediaPipe, detectors in browsers, COCO results and annotations, npz archives, and tables "
        "of DeepLabCut, SLEAP and others."
    )


def _read_table(table: Table) -> Recording:
    for is_form, reader in _TABLE_READERS:
        if is_form(table):
            return reader(table)
    raise InvalidFile(
        f"its columns are {', '.join(table.header[-1])[:200]}; a table of keypoints has columns such as nose_x, "
        "nose_y, nose_score, or frame, joint, x, y, score."
    )
