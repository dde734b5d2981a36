"""What the columns of a table hold, by their names."""

import re
from collections.abc import Mapping, Sequence

_AXES: Mapping[str, str] = {
    "x": "x",
    "y": "y",
    "z": "z",
    **dict.fromkeys(
        "score likelihood confidence conf c s visibility vis v visible probability prob p".split(), "score"
    ),
}
_AXIS = "|".join(sorted(_AXES, key=len, reverse=True))
_GAP = r"[\s._:/\-\[(]"
# The ways in which a joint and an axis make a name: nose_x, nose.x, noseX, x_nose, x0, 0x, kp_x_0.
_SHAPES = (
    re.compile(rf"(?P<joint>.+?){_GAP}+(?P<axis>{_AXIS})[\])]?", re.IGNORECASE),
    re.compile(rf"(?P<axis>{_AXIS}){_GAP}*(?P<joint>\d+)[\])]?", re.IGNORECASE),
    re.compile(rf"(?P<joint>\d+){_GAP}*(?P<axis>{_AXIS})", re.IGNORECASE),
    re.compile(rf"(?P<axis>{_AXIS}){_GAP}+(?P<joint>[^\])]+)[\])]?", re.IGNORECASE),
    re.compile(rf".+?{_GAP}+(?P<axis>{_AXIS}){_GAP}+(?P<joint>\d+)", re.IGNORECASE),
    re.compile(r"(?P<joint>.*[a-z0-9])(?P<axis>[XYZVC])"),
)
_UNIT = re.compile(rf"{_GAP}+(?P<unit>px|pixels?|m|mm|cm)[\])]?$", re.IGNORECASE)
_METRES = frozenset(("m", "mm", "cm"))

_FRAME = frozenset(
    "frame frames frame_idx frame_index frame_id frame_no frame_num frame_number frame_count framenumber image "
    "image_id image_name file filename file_name index idx unnamed_0".split()
)
_TRACK = frozenset(
    "track track_id trackid person person_id personid person_idx id individual individuals instance instance_id "
    "subject subject_id player player_id pid human human_id pose_id".split()
)
_SECONDS: Mapping[str, float] = {
    **dict.fromkeys("time time_s times_s time_sec timestamp timestamp_s timestamps_s t seconds sec".split(), 1.0),
    **dict.fromkeys("time_ms timestamp_ms ms milliseconds".split(), 1e-3),
}
_JOINT = frozenset(
    "landmark landmark_name landmark_id landmark_index landmark_idx keypoint keypoint_name keypoint_id keypoint_idx "
    "keypoint_index joint joint_name joint_id joint_index bodypart bodyparts body_part marker node point part kpt kp "
    "name".split()
)


def plain(name: str) -> str:
    """A column's name in lower case with single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def frame_column(names: Sequence[str]) -> int | None:
    """The column of frame numbers or of pictures' names; a first column without a name is one, as pandas writes it."""
    named = _first(names, _FRAME)
    return 0 if named is None and names[0] == "" else named


def track_column(names: Sequence[str]) -> int | None:
    """The column of people's identities."""
    return _first(names, _TRACK)


def joint_column(names: Sequence[str]) -> int | None:
    """The column of joints, of a table with a row per joint."""
    return _first(names, _JOINT)


def time_column(names: Sequence[str]) -> tuple[int, float] | None:
    """The column of times, and how many seconds 1 is there."""
    index = _first(names, _SECONDS)
    return None if index is None else (index, _SECONDS[plain(names[index])])


def axis_columns(names: Sequence[str]) -> dict[str, int]:
    """The columns named like an axis alone, of a table with a row per joint; x, y, z and score."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        bare = _UNIT.sub("", name)
        if bare.lower() in _AXES:
            found.setdefault(_AXES[bare.lower()], index)
    return found


def _first(names: Sequence[str], wanted: frozenset[str] | Mapping[str, float]) -> int | None:
    return next((index for index, name in enumerate(names) if plain(name) in wanted), None)


def joint_columns(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """The columns of each joint that has an x and a y: by joint, by axis (x, y, z, score)."""
    joints: dict[str, dict[str, int]] = {}
    for index, name in enumerate(names):
        bare = _UNIT.sub("", name)
        shape = next((match for shape in _SHAPES if (match := shape.fullmatch(bare))), None)
        if shape:
            joints.setdefault(shape["joint"], {}).setdefault(_AXES[shape["axis"].lower()], index)
    return {joint: axes for joint, axes in joints.items() if {"x", "y"} <= axes.keys()}


def in_metres(names: Sequence[str]) -> bool:
    """Whether names end in a unit of length, as those of 3D poses do."""
    return any((match := _UNIT.search(name)) and match["unit"].lower() in _METRES for name in names)


def joint_numbers(joints: Sequence[str]) -> list[int] | None:
    """The numbers of joints without names, such as 0 or kp12; None if they are not those from 0 or 1 on."""
    matches = [re.fullmatch(r"(\D*)(\d{1,4})", joint) for joint in joints]
    if not all(matches) or len({match[1] for match in matches if match}) != 1:
        return None
    numbers = [int(match[2]) for match in matches if match]
    first = min(numbers)
    return (
        [number - first for number in numbers]
        if sorted(numbers) == list(range(first, first + len(joints))) and first < 2
        else None
    )
