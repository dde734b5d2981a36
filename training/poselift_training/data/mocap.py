"""Motion capture: 17 joints in world coordinates, all clips in one tensor.

Files: `<shard>.npz` with one int16 array (frames, 17, 3) per clip in millimetres, world axes with z up, and an
`index.json` that describes them: the format of `poselift_training.data.clips`.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.errors import InvalidDataset
from poselift.skeletons import skeleton
from poselift_training.data.clips import read_index

# Half of the open data set is repetitions of twenty rehabilitation exercises in one place, and a fifth is people who
# stand still. Sampled by length they would dominate, so each source gets a fixed share.
SOURCE_SHARES = {"CMU": 0.62, "UI-PRMD": 0.28, "ReActIdle": 0.10}

_H36M = skeleton("h36m17")
_PELVIS, _THORAX = (_H36M.joint_names.index(joint) for joint in ("pelvis", "thorax"))
_ELBOWS = _H36M.limbs["left arm"], _H36M.limbs["right arm"]
_KNEES = _H36M.limbs["left leg"], _H36M.limbs["right leg"]
_RAREST = 1e-4


@dataclass(frozen=True)
class Motion:
    """Clips of one or more splits, concatenated in one tensor.

    Attributes:
        joints: [T, 17, 3] float32 metres, world axes with z up, Human3.6M joints.
        starts, lengths: [C] int64, first row and number of frames of each clip in `joints`.
        sources, actions, subjects: C names each.
        fps: frames per second, the same for all.
        licences: the distinct (source, licence) pairs of these clips.
    """

    joints: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor
    sources: tuple[str, ...]
    actions: tuple[str, ...]
    subjects: tuple[str, ...]
    fps: float
    licences: tuple[tuple[str, str], ...]

    @staticmethod
    def load(root: str | Path, splits: Collection[str]) -> "Motion":
        """Read the clips of the given splits ("train", "val", "test").

        Raises:
            InvalidDataset: a file is missing, a clip has another shape, or the splits hold no clip.
        """
        root = Path(root)
        index = read_index(root / "index.json")
        clips = [clip for clip in index["clips"] if clip["split"] in splits]
        if not clips:
            raise InvalidDataset(
                f"{root / 'index.json'} has no clip in the splits {', '.join(sorted(splits))}; it has "
                f"{', '.join(sorted({clip['split'] for clip in index['clips']})) or 'none'}."
            )
        arrays = _read_clips(root, clips)
        lengths = torch.tensor([len(array) for array in arrays])
        joints = torch.from_numpy(np.concatenate(arrays)).float() / 1000
        return Motion(
            joints=joints,
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            sources=tuple(clip["source"] for clip in clips),
            actions=tuple(clip["action"] for clip in clips),
            subjects=tuple(clip["subject"] for clip in clips),
            fps=float(index["fps"]),
            licences=tuple(sorted({(clip["source"], clip["licence"]) for clip in clips})),
        )

    def to(self, device: torch.device | str) -> "Motion":
        """The same clips on another device."""
        return replace(
            self,
            joints=self.joints.to(device),
            starts=self.starts.to(device),
            lengths=self.lengths.to(device),
        )

    @staticmethod
    def join(motions: "Sequence[Motion]") -> "Motion":
        """Combine the clips of several data sets.

        Raises:
            InvalidDataset: their frame rates differ.
        """
        if len(rates := {motion.fps for motion in motions}) > 1:
            raise InvalidDataset(
                f"Motion of {' and '.join(f'{rate:g}' for rate in sorted(rates))} fps cannot be joined: "
                "leave a folder out of data.also."
            )
        lengths = torch.cat([motion.lengths for motion in motions])
        return Motion(
            joints=torch.cat([motion.joints for motion in motions]),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            sources=tuple(source for motion in motions for source in motion.sources),
            actions=tuple(action for motion in motions for action in motion.actions),
            subjects=tuple(subject for motion in motions for subject in motion.subjects),
            fps=motions[0].fps,
            licences=tuple(sorted({pair for motion in motions for pair in motion.licences})),
        )

    def at_rate(self, fps: float) -> "Motion":
        """Resample to another frame rate by linear interpolation, from the first frame of each clip on."""
        step = self.fps / fps
        clips = []
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            # Rounding must not drop the last frame.
            frames = int((length - 1) / step + 1e-6) + 1
            position = torch.arange(frames, dtype=torch.float64, device=self.joints.device) * step
            lower = position.long().clamp(max=length - 1)
            weight = (position - lower).float()[:, None, None]
            clip = self.joints[start : start + length]
            clips.append(torch.lerp(clip[lower], clip[(lower + 1).clamp(max=length - 1)], weight))
        lengths = torch.tensor([len(clip) for clip in clips], device=self.joints.device)
        return replace(self, joints=torch.cat(clips), starts=lengths.cumsum(0) - lengths, lengths=lengths, fps=fps)

    def clip_weights(self, shares: Mapping[str, float] | None = None) -> torch.Tensor:
        """Sampling probability of each clip, [C] float64, which sum to 1.

        Sources are sampled by their shares (others like the smallest of these), actions within a source by the square
        root of their length, and clips within an action by length.

        Args:
            shares: by source, in any unit; `SOURCE_SHARES` if None or empty.
        """
        shares = shares or SOURCE_SHARES
        lengths = self.lengths.cpu().double()
        action_length: dict[tuple[str, str], float] = {}
        for key, length in zip(zip(self.sources, self.actions, strict=True), lengths.tolist(), strict=True):
            action_length[key] = action_length.get(key, 0.0) + length
        source_weight: dict[str, float] = {}
        for (source, _), length in action_length.items():
            source_weight[source] = source_weight.get(source, 0.0) + length**0.5
        smallest = min(shares.values())
        weights = torch.tensor(
            [
                shares.get(source, smallest) / source_weight[source] * action_length[source, action] ** -0.5
                for source, action in zip(self.sources, self.actions, strict=True)
            ],
            dtype=torch.float64,
        )
        weights *= lengths
        return (weights / weights.sum()).to(self.joints.device)

    def frame_weights(self, shares: Mapping[str, float] | None, rare: float) -> torch.Tensor:
        """How often to sample each frame, [T] float64, summing to 1: rare poses more often, sources as in their shares.

        Args:
            shares: as in `clip_weights`.
            rare: a pose that is half as frequent comes 2 ** rare times as often as by `clip_weights`; 0: as often.
        """
        clip = torch.repeat_interleave(self.lengths)
        weights = (self.clip_weights(shares) / self.lengths)[clip]
        names = sorted(set(self.sources))
        source = torch.tensor([names.index(name) for name in self.sources], device=weights.device)[clip]
        before = torch.zeros(len(names), dtype=weights.dtype, device=weights.device).index_add(0, source, weights)
        weights = weights * pose_frequency(self.joints) ** -rare
        after = torch.zeros_like(before).index_add(0, source, weights)
        return weights * (before / after)[source]

    def of_subjects(self, subjects: Collection[str], *, left_out: bool = False) -> "Motion":
        """The clips of some subjects, or of all others.

        Raises:
            InvalidDataset: there are none.
        """
        chosen = [row for row, subject in enumerate(self.subjects) if (subject in subjects) != left_out]
        if not chosen:
            raise InvalidDataset(
                f"There is no clip of {'other subjects than' if left_out else 'the subjects'} "
                f"{', '.join(sorted(subjects))}; there are {', '.join(sorted(set(self.subjects)))}."
            )
        places = torch.tensor(chosen, device=self.lengths.device)
        lengths = self.lengths[places]
        clips = zip(self.starts[places].tolist(), lengths.tolist(), strict=True)
        return replace(
            self,
            joints=torch.cat([self.joints[start : start + length] for start, length in clips]),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            sources=tuple(self.sources[row] for row in chosen),
            actions=tuple(self.actions[row] for row in chosen),
            subjects=tuple(self.subjects[row] for row in chosen),
        )


def subjects_in(root: str | Path, split: str) -> frozenset[str]:
    """The people in a split of a data set; none where it has no such split.

    Raises:
        InvalidDataset: it has no index, or a broken one.
    """
    clips = read_index(Path(root) / "index.json")["clips"]
    return frozenset(clip["subject"] for clip in clips if clip["split"] == split)


def pose_frequency(joints: torch.Tensor) -> torch.Tensor:
    """How frequent poses [T, 17, 3] like each are, [T] float64: frames of the same kind, as a share of all.

    A kind is a height of the pelvis, a pitch of the trunk, and how bent the knees and the elbows are, coarsely. The
    rarest kinds count as a ten-thousandth, lest single frames come again and again.
    """
    upwards = torch.nn.functional.normalize(joints[:, _THORAX] - joints[:, _PELVIS], dim=-1)[:, 2]
    knees, elbows = (_bends(joints, limb) for limb in (_KNEES, _ELBOWS))
    measures = (joints[:, _PELVIS, 2] / 0.15, upwards.clamp(-1, 1).acos() / 0.35, knees / 0.45, elbows / 0.5)
    kinds = torch.stack(measures, dim=-1).floor().long()
    _, kind, counts = torch.unique(kinds, dim=0, return_inverse=True, return_counts=True)
    frequency: torch.Tensor = counts[kind].double() / len(joints)
    return frequency.clamp_min(_RAREST)


def _bends(joints: torch.Tensor, limbs: tuple[tuple[int, ...], ...]) -> torch.Tensor:
    """The larger angle of two limbs' middle joints, [T] radians; 0: straight."""
    bends = []
    for upper, middle, lower in limbs:
        first, second = joints[:, middle] - joints[:, upper], joints[:, lower] - joints[:, middle]
        cosine = torch.nn.functional.cosine_similarity(first, second, dim=-1)
        bends.append(cosine.clamp(-1, 1).acos())
    larger: torch.Tensor = torch.stack(bends).amax(dim=0)
    return larger


def _read_clips(root: Path, clips: list[dict[str, Any]]) -> list[NDArray[np.int16]]:
    with ExitStack() as opened:
        names = sorted({clip["shard"] for clip in clips})
        shards = {name: _open_shard(root / name, opened) for name in names}
        return [_read_clip(root, clip, shards[clip["shard"]]) for clip in clips]


def _read_clip(root: Path, clip: dict[str, Any], shard: "np.lib.npyio.NpzFile") -> NDArray[np.int16]:
    try:
        array: NDArray[np.int16] = shard[clip["key"]]
    except KeyError:
        raise InvalidDataset(
            f"{root / clip['shard']} lacks the clip {clip['key']} that index.json names: convert its recording again."
        ) from None
    except Exception as error:  # zipfile, zlib and NumPy have no class of errors in common
        raise InvalidDataset(
            f"{root / clip['shard']} is damaged, or no archive of plain arrays, at {clip['key']}: "
            "convert its recordings again."
        ) from error
    if array.ndim != 3 or array.shape[1:] != (17, 3) or len(array) == 0:
        raise InvalidDataset(f"The clip {clip['key']} has the shape {array.shape}, not (frames, 17, 3).")
    return array


def _open_shard(file: Path, opened: ExitStack) -> "np.lib.npyio.NpzFile":
    try:
        # Opened here, because NumPy leaves the file open where an array cannot be read.
        shard = np.load(opened.enter_context(file.open("rb")))
    except Exception as error:  # zipfile and NumPy have no class of errors in common
        raise InvalidDataset(f"{file} is missing or no npz file: convert its recordings again.") from error
    if not isinstance(shard, np.lib.npyio.NpzFile):
        raise InvalidDataset(f"{file} is no npz file: convert its recordings again.")
    return shard
