"""Motion in the world as JSON."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.motion.world import Gravity, WorldMotion

# 10 micrometres, and as small a part of a quaternion; probabilities and degrees are not known so well.
_DECIMALS, _FEW_DECIMALS = 5, 3
WORLD_AXES = {
    "y": "world: x left, y up, z forward of the person at the start, who stands above the origin; the floor is y = 0",
    "z": "world: x left, y backward of the person at the start, z up, who stands above the origin; the floor is z = 0",
}


def world_document(motion: WorldMotion) -> dict[str, Any]:
    """The `world` of a person in an answer. What there is of each frame are arrays, which orjson writes directly."""
    document: dict[str, Any] = {
        "axes": WORLD_AXES[motion.up_axis],
        "unit": "m",
        "poses": rounded(motion.poses),
        "root": rounded(motion.root),
        "contacts": rounded(motion.contacts, _FEW_DECIMALS),
        "scale": round(float(motion.scale), _DECIMALS),
        "height_m": round(float(motion.height_m), _DECIMALS),
        "gravity": {**_gravity(motion.gravity), "given": motion.gravity.given},
        "camera": {"focal_px": round(float(motion.focal_px), _FEW_DECIMALS), "given": motion.focal_given},
    }
    if motion.network_gravity is not None:
        document["gravity"]["network"] = _gravity(motion.network_gravity)
    if motion.rotations is not None:
        document["rotations"] = rounded(motion.rotations)
    if motion.angles is not None:
        document["angles"] = {name: rounded(degrees, _FEW_DECIMALS) for name, degrees in motion.angles.items()}
    return document


def _gravity(gravity: Gravity) -> dict[str, Any]:
    return {
        "direction": rounded(gravity.direction),
        "uncertainty_deg": round(float(gravity.uncertainty_deg), _FEW_DECIMALS),
    }


def world_rows(motion: WorldMotion) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The `world` of each frame of an answer, and what they have in common."""
    common = world_document(motion)
    arrays = {name: common.pop(name) for name in ("poses", "root", "contacts")}
    rotations, angles = common.pop("rotations", None), common.pop("angles", {})
    rows = [
        {"pose": pose, "root": root, "contacts": contacts}
        for pose, root, contacts in zip(*arrays.values(), strict=True)
    ]
    for number, row in enumerate(rows):
        if rotations is not None:
            row["rotations"] = rotations[number]
        if angles:
            row["angles"] = {name: float(degrees[number]) for name, degrees in angles.items()}
    return rows, common


def rounded(values: NDArray[np.floating], decimals: int = _DECIMALS) -> NDArray[np.float64]:
    """Numbers as they are written: contiguous, as orjson needs them, and without a negative zero."""
    return np.ascontiguousarray(np.round(np.asarray(values, np.float64), decimals) + 0.0)
