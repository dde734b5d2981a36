"""Motion capture from BVH files: parsing, resampling, forward kinematics, and the 17 joints of Human3.6M.

Letters: T recorded frames, J joints of the file, F frames after resampling. Everything is vectorised over frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.coordinates import rotation_from_quaternion
from poselift.errors import InvalidFile
from poselift.formats.writers.rig.skeleton import NAMES, PLACES

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bvh:
    """One recording: the joint hierarchy, and the rotation and translation of each joint relative to its parent.

    Attributes:
        joint_names: J names; an end site is named after its joint, such as `Head_end`.
        parents: [J], -1 for the root; a parent comes before its children.
        translations: [T, J, 3] from the parent joint, in the file's unit, in the parent's axes.
        rotations: [T, J, 4] unit quaternions w, x, y, z that turn the joint's axes into its parent's.
    """

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    translations: Array
    rotations: Array
    frame_rate_hz: float

    @property
    def n_frames(self) -> int:
        return len(self.rotations)

    def after(self, frames: int) -> "Bvh":
        """Drop the first `frames` frames; many files begin with an artificial T-pose."""
        return replace(self, translations=self.translations[frames:], rotations=self.rotations[frames:])


def read_bvh(path: Path) -> Bvh:
    """Parse a BVH file.

    The translation of a joint comes from its position channels, if it has any, else from its OFFSET. Rotation channels
    may be in any order and rotate about the axes of the joint, the first channel outermost.

    Raises:
        InvalidFile: the file is not BVH, or its counts do not match; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InvalidFile(f"{path} is not a BVH file: it is not text.") from None
    joints, motion_line = _read_hierarchy(path, lines)
    values, frame_rate_hz = _read_motion(path, lines[motion_line:], sum(len(joint.channels) for joint in joints))
    translations, rotations = _channels_to_transforms(joints, values)
    return Bvh(
        tuple(joint.name for joint in joints),
        tuple(joint.parent for joint in joints),
        translations,
        rotations,
        frame_rate_hz,
    )


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: tuple[str, ...] = ()


_CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


def _read_hierarchy(path: Path, lines: Sequence[str]) -> tuple[list[_Joint], int]:
    """Parse the joints, in the order of their channels, and find the number of the MOTION line."""
    joints: list[_Joint] = []
    open_joints = [-1]
    for number, line in enumerate(lines, start=1):
        try:
            match line.split():
                case [] | ["HIERARCHY"]:
                    pass
                case ["ROOT" | "JOINT", *name]:
                    joints.append(_Joint(" ".join(name), open_joints[-1]))
                case ["End", "Site"]:
                    joints.append(_Joint(f"{joints[open_joints[-1]].name}_end", open_joints[-1]))
                case ["{"]:
                    open_joints.append(len(joints) - 1)
                case ["}"] if len(open_joints) > 1:
                    open_joints.pop()
                case ["OFFSET", x, y, z]:
                    joints[-1].offset = (float(x), float(y), float(z))
                case ["CHANNELS", count, *channels] if int(count) == len(channels) and set(channels) <= set(_CHANNELS):
                    joints[-1].channels = tuple(channels)
                case ["MOTION"] if joints and open_joints == [-1]:
                    return joints, number
                case _:
                    raise ValueError
        except (ValueError, IndexError):
            raise InvalidFile(
                f"{path}, line {number}: {line.strip()!r} is not what BVH has there; export the file again."
            ) from None
    raise InvalidFile(f"{path} is not a BVH file: it has no MOTION part; export it again.")


def _read_motion(path: Path, lines: Sequence[str], n_channels: int) -> tuple[Array, float]:
    """Parse the channel values [T, channels] and the frame rate in Hz."""
    text = "\n".join(lines).split(maxsplit=5)
    try:
        match text:
            case ["Frames:", count, "Frame", "Time:", seconds, numbers]:
                values = np.array(numbers.split(), dtype=np.float64)
                n_frames, frame_s = int(count), float(seconds)
            case _:
                raise ValueError
    except ValueError:
        raise InvalidFile(f"{path}: the MOTION part needs Frames:, Frame Time: and then numbers only.") from None
    if n_frames < 1 or not frame_s > 0 or not np.isfinite(values).all():
        raise InvalidFile(f"{path}: the MOTION part needs at least one frame, a frame time above 0 and finite numbers.")
    if values.size != n_frames * n_channels:
        expected = f"{n_frames} frames x {n_channels} channels make {n_frames * n_channels} numbers"
        raise InvalidFile(f"{path}: {expected}, not {values.size}.")
    return values.reshape(n_frames, n_channels), _frame_rate(frame_s)


def _frame_rate(frame_s: float) -> float:
    """The frame rate in Hz, rounded if it is almost whole: frame times are written with few digits (.0083333)."""
    rate = 1 / frame_s
    return float(round(rate)) if abs(rate - round(rate)) < 1e-4 * rate else rate


def _channels_to_transforms(joints: Sequence[_Joint], values: Array) -> tuple[Array, Array]:
    """Translations [T, J, 3] and rotations [T, J, 4] of all joints."""
    translations = np.empty((len(values), len(joints), 3))
    rotations = np.empty((len(values), len(joints), 4))
    first = 0
    for index, joint in enumerate(joints):
        translations[:, index] = joint.offset
        rotation = np.broadcast_to(np.array([1.0, 0, 0, 0]), (len(values), 4))
        for channel, column in zip(joint.channels, values[:, first:].T, strict=False):
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                translations[:, index, axis] = column
            else:
                rotation = _multiply(rotation, _axis_rotation(axis, np.radians(column)))
        rotations[:, index] = rotation
        first += len(joint.channels)
    return translations, rotations


def _axis_rotation(axis: int, angle_rad: Array) -> Array:
    """Quaternions [T, 4] of rotations about a coordinate axis."""
    quaternion = np.zeros((*angle_rad.shape, 4))
    quaternion[..., 0] = np.cos(angle_rad / 2)
    quaternion[..., 1 + axis] = np.sin(angle_rad / 2)
    return quaternion


def _multiply(first: Array, second: Array) -> Array:
    """Hamilton product of quaternions [..., 4]."""
    w, v = first[..., :1], first[..., 1:]
    x, u = second[..., :1], second[..., 1:]
    return np.concatenate([w * x - (v * u).sum(-1, keepdims=True), w * u + x * v + np.cross(v, u)], axis=-1)


def resample(motion: Bvh, frame_rate_hz: float) -> Bvh:
    """Resample a recording to another frame rate, from its first frame on.

    Rotations are interpolated spherically along the shorter arc, translations linearly, so bones keep their lengths.
    """
    duration_s = (motion.n_frames - 1) / motion.frame_rate_hz
    # Rounding must not drop the last sample.
    count = int(duration_s * frame_rate_hz + 1e-6) + 1
    position = np.arange(count) * (motion.frame_rate_hz / frame_rate_hz)
    lower = np.minimum(position.astype(np.int64), motion.n_frames - 1)
    upper = np.minimum(lower + 1, motion.n_frames - 1)
    weight = np.asarray(position - lower, dtype=np.float64)[:, None, None]
    translations = (1 - weight) * motion.translations[lower] + weight * motion.translations[upper]
    rotations = _slerp(motion.rotations[lower], motion.rotations[upper], weight)
    return replace(motion, translations=translations, rotations=rotations, frame_rate_hz=frame_rate_hz)


def _slerp(start: Array, end: Array, weight: Array) -> Array:
    cosine = (start * end).sum(-1, keepdims=True)
    end = np.where(cosine < 0, -end, end)  # q and -q are one rotation; take the nearer
    angle = np.arccos(np.clip(np.abs(cosine), 0, 1))
    # Below this angle the arc is a straight line to double precision, and its sine would divide by zero.
    straight = angle < 1e-6
    sine = np.where(straight, 1, np.sin(angle))
    mixed = np.where(straight, 1 - weight, np.sin((1 - weight) * angle) / sine) * start
    mixed += np.where(straight, weight, np.sin(weight * angle) / sine) * end
    return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True))


def joint_positions(motion: Bvh) -> Array:
    """Compute the position of every joint by forward kinematics: [T, J, 3], in the unit and axes of the file."""
    local = rotation_from_quaternion(motion.rotations)
    world = np.empty_like(local)
    positions = np.empty_like(motion.translations)
    for joint, parent in enumerate(motion.parents):
        if parent < 0:
            world[:, joint], positions[:, joint] = local[:, joint], motion.translations[:, joint]
            continue
        world[:, joint] = world[:, parent] @ local[:, joint]
        moved = world[:, parent] @ motion.translations[:, joint, :, None]
        positions[:, joint] = positions[:, parent] + moved[..., 0]
    return positions


H36M_JOINTS = (
    "hip rhip rknee rfoot lhip lknee lfoot spine thorax neck_nose head lshoulder lelbow lwrist rshoulder relbow rwrist"
).split()
H36M_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)

# Names of the joints that are taken as they are: MotionBuilder's, as in the CMU release by cgspeed. LAFAN1 has the same
# names, and Mixamo, too, behind a prefix such as `mixamorig:`.
_LIMBS = {
    "rhip": "RightUpLeg",
    "rknee": "RightLeg",
    "rfoot": "RightFoot",
    "lhip": "LeftUpLeg",
    "lknee": "LeftLeg",
    "lfoot": "LeftFoot",
    "lshoulder": "LeftArm",
    "lelbow": "LeftForeArm",
    "rshoulder": "RightArm",
    "relbow": "RightForeArm",
}
_REQUIRED_JOINTS = (*_LIMBS.values(), "Hips", "Spine", "Neck", "Head", "LeftHand", "RightHand")
_SPINE = ("Spine", "Spine1", "Spine2", "Spine3")
# The height of the spine joint, in lengths of the chain from the hips to the neck.
_SPINE_HEIGHT = 0.43
# Ends of the bone of the head, and the lengths of CMU's in theirs: Mixamo's begins lower, and ends at the crown.
_HEAD_ENDS = {"Head_end": 1.0, "HeadTop_End": 0.55}
# Where the head has no end (LAFAN1): the length of CMU's bone in lengths of that from the neck to the head.
_HEAD_PER_NECK = 0.83

# Landmarks in the axes of the Head joint (y up, z to the front), in lengths of the head bone; fitted on CMU
# recordings with known markers. CMU's forearm bones end before the wrist, which is this far beyond in lengths of that
# bone; they are less than this share of the upper arm, where a whole forearm is about 0.8 of it.
_NOSE = np.array([0.0, 0.387, 1.337])
_CROWN = np.array([0.0, 1.4, 0.121])
_WRIST = 0.41
_SHORT_FOREARM = 0.6
# Height of the thorax joint above the middle of the shoulders, in lengths of the trunk below it.
_THORAX = 0.09
_NOSE_TO_NECK = 0.75


def seventeen_joints(motion: Bvh, unit_m: float) -> Array:
    """Compute the 17 joints of Human3.6M in world coordinates, [T, 17, 3] metres, x and y horizontal and z up.

    For files with MotionBuilder joint names, y up: cgspeed's release of the CMU recordings (whose unit is
    0.0254 / 0.45 m), LAFAN1, and Mixamo. Two bones that have zero length in cgspeed's release are restored: the thorax
    bone gets the length of the one below it, the wrist bone a fixed share of the forearm. In files of `poselift lift`
    all joints are taken as they are.

    Args:
        unit_m: metres per unit of the file.
    Raises:
        InvalidFile: a joint is missing, or the legs would not have a human length with this unit.
    """
    motion = replace(motion, joint_names=tuple(name.rpartition(":")[2] for name in motion.joint_names))
    if _is_own(motion):
        positions = _z_up(joint_positions(motion) * unit_m)
        return positions[:, [motion.joint_names.index(place) for place in PLACES.values()]]
    missing = [name for name in _REQUIRED_JOINTS if name not in motion.joint_names]
    if missing:
        raise InvalidFile(
            f"The recording lacks the joints {', '.join(missing)}; MotionBuilder's names, "
            "Mixamo's or LAFAN1's are expected: rename the joints of the file."
        )
    completed = _add_landmarks(motion)
    positions = _z_up(joint_positions(completed) * unit_m)
    at = dict(zip(completed.joint_names, np.moveaxis(positions, 1, 0), strict=True))
    joints = {joint: at[name] for joint, name in _LIMBS.items()} | {"spine": at[_spine(motion)]}
    joints["hip"] = (joints["lhip"] + joints["rhip"]) / 2
    shoulders = (joints["lshoulder"] + joints["rshoulder"]) / 2
    joints["thorax"] = shoulders + _THORAX * (shoulders - joints["hip"])
    joints["neck_nose"] = joints["thorax"] + _NOSE_TO_NECK * (at["nose"] - joints["thorax"])
    joints["head"] = at["crown"]
    joints["lwrist"], joints["rwrist"] = at["left wrist"], at["right wrist"]
    _check_legs(joints, unit_m)
    return np.stack([joints[joint] for joint in H36M_JOINTS], axis=1)


def _is_own(motion: Bvh) -> bool:
    """Whether Poselift has written the file: no other skeleton has these joints, in this order."""
    names = [name.replace("Toe", "ToeBase") if name.endswith("Toe") else name for name in motion.joint_names]
    return tuple(name for name in names if not name.endswith("_end")) == NAMES


def _z_up(positions: Array) -> Array:
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def _add_landmarks(motion: Bvh) -> Bvh:
    """Restore the bones of zero length, and attach the landmarks to the joints that move them."""
    at = {name: index for index, name in enumerate(motion.joint_names)}
    translations = motion.translations.copy()
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        if "Spine1" in at and name in at and not translations[:, at[name]].any():
            translations[:, at[name], 1] = np.linalg.norm(translations[0, at["Spine1"]])
    head = _head(at, translations[0])
    landmarks = {
        "nose": (at["Head"], head(_NOSE)),
        "crown": (at["Head"], head(_CROWN)),
        "left wrist": (at["LeftHand"], _wrist(translations[0, at["LeftForeArm"]], translations[0, at["LeftHand"]])),
        "right wrist": (at["RightHand"], _wrist(translations[0, at["RightForeArm"]], translations[0, at["RightHand"]])),
    }
    offsets = np.stack([offset for _, offset in landmarks.values()])
    identity = np.broadcast_to(np.array([1.0, 0, 0, 0]), (motion.n_frames, len(landmarks), 4))
    return Bvh(
        (*motion.joint_names, *landmarks),
        (*motion.parents, *(parent for parent, _ in landmarks.values())),
        np.concatenate([translations, np.broadcast_to(offsets, (motion.n_frames, *offsets.shape))], axis=1),
        np.concatenate([motion.rotations, identity], axis=1),
        motion.frame_rate_hz,
    )


def _spine(motion: Bvh) -> str:
    """The joint of the spine whose height is nearest to that of Human3.6M's."""
    at = {name: index for index, name in enumerate(motion.joint_names)}
    heights, joint, height = {}, at["Neck"], 0.0
    while joint > at["Hips"]:  # from the neck down
        height += float(np.linalg.norm(motion.translations[0, joint]))
        joint = motion.parents[joint]
        heights[motion.joint_names[joint]] = height
    below_neck = {name: heights[name] for name in _SPINE if name in heights}
    if not below_neck or not height:
        raise InvalidFile("The recording has no Spine between Hips and Neck: rename the joints of the file.")
    return min(below_neck, key=lambda name: abs(1 - below_neck[name] / height - _SPINE_HEIGHT))


def _head(at: Mapping[str, int], translations: Array) -> Callable[[Array], Array]:
    """What turns landmarks of CMU's Head joint into those of this one: its bone's length, and the axes of the joint.

    The bone to the head runs along the axis that points up; the next one points to the front: y and z in most files,
    x and y in LAFAN1.
    """
    bone = translations[at["Head"]]
    sizes = [share * np.linalg.norm(translations[at[name]]) for name, share in _HEAD_ENDS.items() if name in at]
    size = max(sizes, default=0.0) or _HEAD_PER_NECK * np.linalg.norm(bone)
    up = int(np.abs(bone).argmax())
    return lambda landmark: np.roll(landmark, up - 1) * size


def _wrist(forearm: Array, hand: Array) -> Array:
    """From the joint of the hand to the wrist, in the axes of the hand.

    Args:
        forearm: [3] from the shoulder joint to the elbow.
        hand: [3] from the elbow to the joint of the hand.
    """
    is_short = np.linalg.norm(hand) < _SHORT_FOREARM * np.linalg.norm(forearm)
    return _WRIST * hand if is_short else np.zeros(3)


def _check_legs(joints: dict[str, Array], unit_m: float) -> None:
    hip, knee, ankle = (joints[name][0] for name in ("lhip", "lknee", "lfoot"))
    leg_m = float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))
    if not 0.4 < leg_m < 1.2:
        raise InvalidFile(
            f"With {unit_m:g} m per unit a leg would be {leg_m:.3g} m long; give the file's true unit (--unit-m)."
        )


def put_on_floor(joints: Array) -> Array:
    """Shift a clip [F, 17, 3] vertically so that its lowest ankle is at the height of ankle joints, 0.085 m."""
    lowest_m = joints[:, [H36M_JOINTS.index("rfoot"), H36M_JOINTS.index("lfoot")], 2].min()
    moved: Array = joints - np.array([0, 0, lowest_m - 0.085])
    return moved
