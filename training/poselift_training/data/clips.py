"""The file format of motion capture: shards of clips in whole millimetres, and an index beside them.

`<shard>.npz` holds one int16 array [frames, 17, 3] per clip under `S<subject>/<clip>`; `index.json` describes them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidDataset
from poselift_training.data.bvh import H36M_JOINTS, H36M_PARENTS

FRAME_RATE_HZ = 50
# The largest int16 in millimetres.
_MAX_COORDINATE_M = 32.767
# Keys of each clip in the index that readers need.
_REQUIRED_KEYS = frozenset({"key", "shard", "split", "source", "action", "subject", "licence"})
_FORMAT = "int16 millimetres, array (frames, 17, 3), world axes x y z with z up, floor near z = 0"


@dataclass(frozen=True)
class Clip:
    """One recorded motion and where it comes from.

    Attributes:
        name: unique for the subject.
        joints: [F, 17, 3] metres, z up, at 50 Hz.
        split: "train", "val" or "test".
        source, licence: where the recording comes from, and under which terms.
    """

    name: str
    subject: str
    joints: NDArray[np.float64]
    split: str
    source: str
    licence: str
    action: str

    @property
    def key(self) -> str:
        return f"S{self.subject}/{self.name}"


def write_clips(shard: Path, clips: Sequence[Clip]) -> None:
    """Write a shard, and replace its clips in the `index.json` beside it.

    Raises:
        InvalidDataset: two clips have the same name, another shard has a clip of that name, the index is not one of
            this format, or a coordinate does not fit into 16 bits of whole millimetres.
    """
    shard.parent.mkdir(parents=True, exist_ok=True)
    index = _index_to_extend(shard.parent / "index.json")
    kept = [entry for entry in index["clips"] if entry["shard"] != shard.name]
    taken = {entry["key"] for entry in kept}
    for clip in clips:
        if clip.key in taken:
            raise InvalidDataset(f"{shard}: there is already a clip {clip.key}; name its subject or file differently.")
        if not (np.abs(clip.joints) <= _MAX_COORDINATE_M).all():
            raise InvalidDataset(
                f"{shard}: the clip {clip.key} has coordinates beyond {_MAX_COORDINATE_M} m, more than can be stored; "
                "is its unit right (--unit-m)?"
            )
        taken.add(clip.key)
    index["clips"] = kept + [_entry(clip, shard.name) for clip in clips]
    index["splits"] = _totals(index["clips"])
    index["bone_lengths_m"] |= {clip.subject: _bone_lengths(clip.joints) for clip in clips}
    millimetres = {clip.key: np.rint(clip.joints * 1000).astype(np.int16) for clip in clips}
    partial = shard.with_name(f"{shard.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **millimetres)
    partial.replace(shard)
    _write_index(shard.parent / "index.json", index)


def read_index(path: Path) -> dict[str, Any]:
    """Read an `index.json`.

    Raises:
        InvalidDataset: it is missing, no JSON, or lacks the frame rate or the clips with what they need.
    """
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidDataset(
            f"{path} is missing or no JSON; `poselift data bvh` writes one, and --root, or data.root in a recipe, "
            "names its folder."
        ) from error
    clips = index.get("clips") if isinstance(index, dict) else None
    if not isinstance(clips, list) or not isinstance(index.get("fps"), int | float):
        raise InvalidDataset(
            f"{path} is not an index of motion clips: it should hold 'fps' and a list of 'clips', as "
            "docs/training.md shows."
        )
    for number, clip in enumerate(clips):
        if not isinstance(clip, dict) or not clip.keys() >= _REQUIRED_KEYS:
            raise InvalidDataset(f"{path} lacks some of {', '.join(sorted(_REQUIRED_KEYS))} in its clip {number}.")
    return dict(index)


def _index_to_extend(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {
            "format": _FORMAT,
            "fps": FRAME_RATE_HZ,
            "joints": list(H36M_JOINTS),
            "parents": list(H36M_PARENTS),
            "bone_lengths_m": {},
            "splits": {},
            "clips": [],
        }
    index = read_index(path)
    if not {"joints", "bone_lengths_m"} <= index.keys():
        raise InvalidDataset(f"{path} is not an index of motion clips: it lacks 'joints' or 'bone_lengths_m'.")
    if index["fps"] != FRAME_RATE_HZ or index["joints"] != list(H36M_JOINTS):
        raise InvalidDataset(
            f"{path} describes clips of another frame rate or other joints: write to another folder (--out)."
        )
    return index


def _write_index(path: Path, index: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _entry(clip: Clip, shard: str) -> dict[str, Any]:
    return {
        "key": clip.key,
        "clip": clip.name,
        "subject": clip.subject,
        "shard": shard,
        "split": clip.split,
        "source": clip.source,
        "action": clip.action,
        "frames": len(clip.joints),
        "fps": FRAME_RATE_HZ,
        "licence": clip.licence,
    }


def _totals(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    totals: dict[str, dict[str, Any]] = {}
    for split in dict.fromkeys(entry["split"] for entry in entries):
        within = [entry for entry in entries if entry["split"] == split]
        frames = sum(entry["frames"] for entry in within)
        totals[split] = {
            "clips": len(within),
            "frames": frames,
            "minutes": round(frames / FRAME_RATE_HZ / 60, 2),
            "subjects": sorted({entry["subject"] for entry in within}),
        }
    return totals


def _bone_lengths(joints: NDArray[np.float64]) -> list[float]:
    """Mean length in metres of the 16 bones, joint 1..16 to its parent."""
    bones = joints[:, 1:] - joints[:, H36M_PARENTS[1:]]
    return [round(float(length), 4) for length in np.linalg.norm(bones, axis=-1).mean(axis=0)]
