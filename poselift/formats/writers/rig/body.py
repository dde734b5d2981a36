"""A simple body around the rig: a capsule for each part, which moves with one joint."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.formats.writers.rig.animation import Animation
from poselift.formats.writers.rig.skeleton import NAMES, PARENTS

Array = NDArray[np.float64]

_SIDES = 16
# Angles of the rings of a capsule's two round ends, from its pole to where it is straight.
_CAP = np.linspace(0, np.pi / 2, 5)[1:]


class Body(NamedTuple):
    """A mesh in the T-pose.

    Attributes:
        positions: [V, 3] metres.
        normals: [V, 3] unit vectors, outwards.
        joints: [V] number of the joint that each vertex moves with.
        triangles: [T, 3] numbers of vertices, counter-clockwise from outside.
    """

    positions: Array
    normals: Array
    joints: NDArray[np.intp]
    triangles: NDArray[np.intp]


class _Part(NamedTuple):
    """A capsule.

    Attributes:
        joint, to: from which joint to which, or to the end of its bone.
        radii: at both ends, as shares of the stature.
        width: how much wider than deep it is.
        behind: the joint it begins, as a share of the stature.
    """

    joint: str
    to: str
    radii: tuple[float, float]
    width: float = 1.0
    behind: float = 0.0


_PARTS = (
    _Part("LHipJoint", "LeftUpLeg", (0.05, 0.046)),
    _Part("RHipJoint", "RightUpLeg", (0.05, 0.046)),
    _Part("Spine", "Spine1", (0.05, 0.05), 1.4),
    _Part("Spine1", "Spine2", (0.05, 0.054), 1.6),
    _Part("Spine2", "Neck", (0.054, 0.04), 1.7),
    _Part("Neck", "Head", (0.03, 0.01)),
    _Part("Head", "", (0.038, 0.046), behind=0.03),
    *(
        _Part(f"{side}{joint}", f"{side}{to}" if to else "", radii, width)
        for side in ("Left", "Right")
        for joint, to, radii, width in (
            ("UpLeg", "Leg", (0.046, 0.031), 1.0),
            ("Leg", "Foot", (0.031, 0.02), 1.0),
            ("Foot", "ToeBase", (0.02, 0.014), 1.4),
            ("ToeBase", "", (0.013, 0.01), 2.0),
            ("Shoulder", "Arm", (0.03, 0.03), 1.0),
            ("Arm", "ForeArm", (0.027, 0.021), 1.0),
            ("ForeArm", "Hand", (0.021, 0.015), 1.0),
            ("Hand", "", (0.015, 0.01), 1.8),
        )
    ),
)


def rest_positions(animation: Animation) -> Array:
    """Where the joints are in a T-pose on the ground: [K, 3]."""
    places = animation.offsets.copy()
    for number, parent in enumerate(PARENTS[1:], start=1):
        places[number] += places[parent]
    toes = NAMES.index("LeftToeBase")
    places[:, 1] += _PARTS[-1].radii[0] * animation.height_m - places[toes, 1]
    return places


def body_of(animation: Animation) -> Body:
    """The body of a person with these bones and this stature."""
    places = rest_positions(animation)
    meshes, joints, first = [], [], 0
    for part in _PARTS:
        number = NAMES.index(part.joint)
        end = places[NAMES.index(part.to)] if part.to else places[number] + animation.ends[part.joint]
        start = places[number] - (0, 0, part.behind * animation.height_m)
        positions, triangles = _capsule(start, end, part, animation.height_m)
        meshes.append((positions, _normals(positions, triangles), triangles + first))
        joints.append(np.full(len(positions), number))
        first += len(positions)
    positions, normals, triangles = (np.concatenate(arrays) for arrays in zip(*meshes, strict=True))
    return Body(positions, normals, np.concatenate(joints), triangles)


def _capsule(start: Array, end: Array, part: _Part, height_m: float) -> tuple[Array, NDArray[np.intp]]:
    """Vertices and triangles; width runs to the sides, or across an arm from front to back."""
    axis = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    side = np.array([0.0, 0, 1]) if abs(axis[0]) > 0.7 else np.array([1.0, 0, 0])
    side -= (side @ axis) * axis
    side /= np.linalg.norm(side)
    first, last = (radius * height_m for radius in part.radii)
    radii = np.concatenate([first * np.sin(_CAP), last * np.sin(_CAP[::-1])])
    centres = np.concatenate(
        [start - first * np.cos(_CAP)[:, None] * axis, end + last * np.cos(_CAP[::-1])[:, None] * axis]
    )
    turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    circle = part.width * np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * np.cross(axis, side)
    rings = centres[:, None] + radii[:, None, None] * circle
    poles = np.stack([start - first * axis, end + last * axis])
    return np.concatenate([rings.reshape(-1, 3), poles]), _triangles(len(radii))


def _triangles(rings: int) -> NDArray[np.intp]:
    """Bands between neighbouring rings, and a fan around each pole."""
    here = np.arange(_SIDES)
    then = (here + 1) % _SIDES
    bands = [
        np.stack([row + here, row + then, row + _SIDES + then, row + here, row + _SIDES + then, row + _SIDES + here], 1)
        for row in range(0, (rings - 1) * _SIDES, _SIDES)
    ]
    pole, top = rings * _SIDES, (rings - 1) * _SIDES
    fans = np.concatenate(
        [
            np.stack([np.full(_SIDES, pole), then, here], axis=1),
            np.stack([np.full(_SIDES, pole + 1), top + here, top + then], axis=1),
        ]
    )
    return np.concatenate([np.concatenate(bands).reshape(-1, 3), fans])


def _normals(positions: Array, triangles: NDArray[np.intp]) -> Array:
    """The mean of the faces around each vertex, large ones counting more."""
    corners = positions[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(positions)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))
