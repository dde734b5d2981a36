"""Joints by name, in the spellings of detectors and of annotation tools."""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import numpy as np

from poselift.errors import InvalidFile
from poselift.skeletons import SKELETONS, Skeleton, conversion

# Names without their side, and without anything but letters and digits; for some there are several joints, of which a
# skeleton has at most one, or the first is meant.
_PAIRED: Mapping[str, str] = {
    "shoulder": "shoulder",
    "sho": "shoulder",
    "elbow": "elbow",
    "elb": "elbow",
    "wrist": "wrist",
    "wri": "wrist",
    "hip": "hip",
    "knee": "knee",
    "kne": "knee",
    "ankle": "ankle",
    "ank": "ankle",
    "eye": "eye",
    "eyeinner": "eye_inner",
    "innereye": "eye_inner",
    "eyeouter": "eye_outer",
    "outereye": "eye_outer",
    "ear": "ear",
    "mouth": "mouth",
    "bigtoe": "big_toe",
    "toe": "big_toe",
    "toes": "big_toe",
    "footindex": "big_toe",
    "smalltoe": "small_toe",
    "heel": "heel",
    "pinky": "pinky",
    "index": "index",
    "thumb": "thumb",
}
_UNPAIRED: Mapping[str, tuple[str, ...]] = {
    "nose": ("nose",),
    "neck": ("neck", "thorax"),
    "neckbase": ("thorax", "neck"),
    "thorax": ("thorax", "neck"),
    "sternum": ("thorax",),
    "chest": ("thorax",),
    "head": ("head", "head_top"),
    "headtop": ("head_top", "head"),
    "tophead": ("head_top", "head"),
    "topofhead": ("head_top", "head"),
    "neck/nose": ("neck_nose",),
    "necknose": ("neck_nose",),
    "pelvis": ("pelvis",),
    "hip": ("pelvis",),
    "hips": ("pelvis",),
    "hipcenter": ("pelvis",),
    "midhip": ("pelvis",),
    "root": ("pelvis",),
    "spine": ("spine",),
    "torso": ("spine",),
    "belly": ("spine",),
}
# DeepLabCut's model of people (MPII) numbers the sides.
_NUMBERED_SIDES = {"1": "right", "2": "left"}
_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right"}

# What must be there; the other joints can be derived from these, or filled in by the network.
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_ANCHORS = tuple(f"{side}_{joint}" for joint in ("shoulder", "hip") for side in ("left", "right"))
_NEEDED = tuple(f"{side}_{joint}" for joint in _LIMBS for side in ("left", "right"))
_FEWEST = 8


@lru_cache(maxsize=4096)
def joints_named(spelling: str) -> tuple[str, ...]:
    """The joints that a spelling may mean, in our names, the likeliest first; empty for no joint.

    `LShoulder`, `left_shoulder`, `LeftShoulder`, `l_shoulder`, `shoulder.L` and `left shoulder` are all the same.
    """
    plain = re.sub(r"[^a-z0-9]", "", spelling.lower())
    if plain in _UNPAIRED:
        return _UNPAIRED[plain]
    for word, side in _SIDES.items():
        for rest in (plain.removeprefix(word), plain.removesuffix(word)):
            if rest != plain and rest in _PAIRED:
                return (f"{side}_{_PAIRED[rest]}",)
    if plain[:-1] in _PAIRED and plain[-1] in _NUMBERED_SIDES:
        return (f"{_NUMBERED_SIDES[plain[-1]]}_{_PAIRED[plain[:-1]]}",)
    return ()


def skeleton_of(spellings: Sequence[str]) -> tuple[Skeleton, list[int | None]]:
    """The skeleton that keeps most of the named joints, and where each of its joints is in the list.

    Returns:
        The skeleton, and for each of its joints the index of its spelling, or None if it is not named.
    Raises:
        InvalidFile: too few of the names are those of a person's joints.
    """
    chosen, places = _best(tuple(spellings))
    return chosen, list(places)


@lru_cache(maxsize=64)  # files repeat their names in every frame
def _best(spellings: tuple[str, ...]) -> tuple[Skeleton, list[int | None]]:
    places = {skeleton.name: _places(skeleton, spellings) for skeleton in SKELETONS.values()}
    chosen = max(SKELETONS.values(), key=lambda skeleton: _worth(skeleton, places[skeleton.name]))
    found = {joint for spelling in spellings for joint in joints_named(spelling)}
    missing = [joint for joint in _NEEDED if joint not in found]
    if any(joint in missing for joint in _ANCHORS) or len(missing) > len(_NEEDED) - _FEWEST:
        raise InvalidFile(
            f"its joints are named {', '.join(spellings)[:200]}; needed are left and right {', '.join(_LIMBS)}, "
            f"and there is no {', '.join(missing)}. Rename them, such as left_shoulder."
        )
    return chosen, places[chosen.name]


def _places(skeleton: Skeleton, spellings: Sequence[str]) -> list[int | None]:
    """For each joint the spelling that means it; one that means another joint in the first place comes second."""
    places: dict[str, int] = {}
    meanings = [[joint for joint in joints_named(spelling) if joint in skeleton.joint_names] for spelling in spellings]
    for rank in range(2):
        for index, joints in enumerate(meanings):
            if len(joints) > rank and index not in places.values():
                places.setdefault(joints[rank], index)
    return [places.get(joint) for joint in skeleton.joint_names]


def _worth(skeleton: Skeleton, places: Sequence[int | None]) -> tuple[int, int, int]:
    """How many joints of the common target can be made of those that are there, how many are there, and no more."""
    return _derivable(skeleton, tuple(place is not None for place in places)), _count(places), -skeleton.n_joints


def _count(places: Sequence[int | None]) -> int:
    return sum(place is not None for place in places)


@cache
def _derivable(skeleton: Skeleton, present: tuple[bool, ...]) -> int:
    parents, weights = conversion(skeleton, SKELETONS["h36m17"])
    is_there = np.array(present)[parents] | (weights == 0)
    return int((is_there & ~np.isnan(weights)).all(axis=1).sum())
