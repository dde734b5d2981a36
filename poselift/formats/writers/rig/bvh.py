"""Motion in the world as BVH, under the names of Mixamo and MotionBuilder, of Mixamo with its prefix, or of LAFAN1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poselift.artifacts.manifest import Manifest
from poselift.formats.writers.markers import even_times
from poselift.formats.writers.rig.animation import Animation, animation_of
from poselift.formats.writers.rig.euler import euler_deg
from poselift.formats.writers.rig.quaternions import inverse, product, turn
from poselift.formats.writers.rig.skeleton import JOINTS
from poselift.formats.writers.track import LiftedTrack
from poselift.sequence import constant_rate_hz

_CM_PER_M = 100
_HALF, _ROOT = 0.5, np.sqrt(0.5)
# Axes of LAFAN1's joints in the T-pose, as quaternions: x runs along the bone, away from the pelvis; y is forward in
# trunk and thighs, up in feet and back in arms.
_TRUNK = (_HALF, _HALF, _HALF, _HALF)
_LEG = (_HALF, _HALF, -_HALF, -_HALF)
_FOOT = (_ROOT, 0, -_ROOT, 0)
_LEFT_ARM, _RIGHT_ARM = (_ROOT, -_ROOT, 0, 0), (0, 0, _ROOT, -_ROOT)


@dataclass(frozen=True)
class _Convention:
    """How a family of files names joints, turns them, and lays their axes."""

    prefix: str = ""
    toes: str = "ToeBase"
    order: str = "ZXY"
    along_bones: bool = False

    def name(self, joint: str) -> str:
        return self.prefix + joint.replace("ToeBase", self.toes)

    def axes(self) -> NDArray[np.float64]:
        """The axes of each joint in the T-pose: [K, 4]."""
        if not self.along_bones:
            return np.broadcast_to(np.array([1.0, 0, 0, 0]), (len(JOINTS), 4))
        return np.array([_axes_along_bone(joint.name) for joint in JOINTS])


def _axes_along_bone(joint: str) -> tuple[float, ...]:
    if joint.endswith("Leg"):
        return _LEG
    if joint.endswith(("Foot", "ToeBase")):
        return _FOOT
    if joint.endswith(("Shoulder", "Arm", "Hand")):
        return _LEFT_ARM if joint.startswith("Left") else _RIGHT_ARM
    return _TRUNK


_PLAIN = _Convention()
_MIXAMO = _Convention(prefix="mixamorig:")
_LAFAN1 = _Convention(toes="Toe", order="ZYX", along_bones=True)


def write_bvh(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the motion of one person in centimetres, y up, from a T-pose that faces +z.

    Raises:
        InvalidFile: as `animation_of` and `even_times`.
    """
    _write(path, manifest, tracks, _PLAIN)


def write_mixamo_bvh(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the same with Mixamo's prefix before all names, as its characters have it."""
    _write(path, manifest, tracks, _MIXAMO)


def write_lafan1_bvh(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack]) -> None:
    """Write the same with the names and axes of LAFAN1, which programs for humanoid robots expect."""
    _write(path, manifest, tracks, _LAFAN1)


def _write(path: Path, manifest: Manifest, tracks: Sequence[LiftedTrack], convention: _Convention) -> None:
    (track,) = tracks
    animation = animation_of(track)
    if (even_s := even_times(animation.times_s)) is not None:
        animation = animation.at(even_s)
    rate_hz = constant_rate_hz(animation.times_s) or manifest.frame_rate_hz
    axes = convention.axes()
    parents = [joint.parent for joint in JOINTS]
    turned = product(animation.rotations, axes)
    turned[:, 1:] = product(inverse(axes[parents[1:]]), turned[:, 1:])
    angles = euler_deg(turned, convention.order)
    channels = np.concatenate([_CM_PER_M * animation.root, angles.reshape(len(angles), -1)], axis=1) + 0.0
    row = " ".join(["%.6f"] * channels.shape[1]) + "\n"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in _hierarchy(animation, convention, axes))
        file.write(f"MOTION\nFrames: {len(channels)}\nFrame Time: {1 / rate_hz:.9f}\n")
        file.writelines(row % tuple(frame) for frame in channels.tolist())


def _hierarchy(animation: Animation, convention: _Convention, axes: NDArray[np.float64]) -> Iterator[str]:
    """The lines before the motion; a brace closes before the next joint that hangs on an earlier one."""
    rotation = " ".join(f"{axis}rotation" for axis in convention.order)
    yield "HIERARCHY"
    open_joints: list[int] = []
    for number, joint in enumerate(JOINTS):
        while open_joints and open_joints[-1] != joint.parent:
            yield "\t" * (len(open_joints) - 1) + "}"
            open_joints.pop()
        indent = "\t" * len(open_joints)
        offset = animation.offsets[number]
        if open_joints:
            offset = turn(inverse(axes[joint.parent]), offset)
        yield f"{indent}{'JOINT' if open_joints else 'ROOT'} {convention.name(joint.name)}"
        yield indent + "{"
        yield f"{indent}\tOFFSET {_numbers(offset)}"
        position = "" if open_joints else "Xposition Yposition Zposition "
        yield f"{indent}\tCHANNELS {3 if open_joints else 6} {position}{rotation}"
        if joint.name in animation.ends:
            end = turn(inverse(axes[number]), animation.ends[joint.name])
            yield from (f"{indent}\t{line}" for line in ("End Site", "{", f"\tOFFSET {_numbers(end)}", "}"))
        open_joints.append(number)
    yield from ("\t" * depth + "}" for depth in reversed(range(len(open_joints))))


def _numbers(offset: NDArray[np.float64]) -> str:
    return " ".join(f"{number:.6f}" for number in np.round(_CM_PER_M * offset, 6) + 0.0)
