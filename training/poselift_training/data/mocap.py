"""Motion capture: 17 joints in world coordinates, all clips in one tensor.

Files: `<shard>.npz` with one int16 array (frames, 17, 3) per clip in millimetres, world axes with z up, and an
`index.json` that describes them: the format of `poselift_training.data.clips`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poselift.errors import InvalidDataset
from poselift_training.data.clips import read_index

# Half of the open data set is repetitions of twenty rehabilitation exercises in one place, and a fifth is people who
# stand still. Sampled by length they would dominate, so each source gets a fixed share.
SOURCE_SHARES = {"CMU": 0.62, "UI-PRMD": 0.28, "ReActIdle": 0.10}


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
    def load(root: str | Path, splits: Collection[str], device: torch.device | str = "cpu") -> "Motion":
        """Read the clips of the given splits ("train", "val", "test").

        Raises:
            InvalidDataset: a file is missing, a clip has another shape, or the splits hold no clip.
        """
        root = Path(root)
        index = read_index(root / "index.json")
        clips = [clip for clip in index["clips"] if clip["split"] in splits]
        if not clips:
            raise InvalidDataset(f"{root / 'index.json'} has no clip in the splits {', '.join(sorted(splits))}.")
        arrays = _read_clips(root, clips)
        lengths = torch.tensor([len(array) for array in arrays])
        joints = torch.from_numpy(np.concatenate(arrays)).to(device, torch.float32) / 1000
        return Motion(
            joints=joints,
            starts=(lengths.cumsum(0) - lengths).to(device),
            lengths=lengths.to(device),
            sources=tuple(clip["source"] for clip in clips),
            actions=tuple(clip["action"] for clip in clips),
            subjects=tuple(clip["subject"] for clip in clips),
            fps=float(index["fps"]),
            licences=tuple(sorted({(clip["source"], clip["licence"]) for clip in clips})),
        )

    @staticmethod
    def join(motions: "Sequence[Motion]") -> "Motion":
        """Combine the clips of several data sets.

        Raises:
            InvalidDataset: their frame rates differ.
        """
        if len(rates := {motion.fps for motion in motions}) > 1:
            raise InvalidDataset(
                f"Motion of {' and '.join(f'{rate:g}' for rate in sorted(rates))} fps cannot be joined."
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

    def clip_weights(self) -> torch.Tensor:
        """Sampling probability of each clip, [C] float64, which sum to 1.

        Sources are sampled by `SOURCE_SHARES` (others like the smallest of these), actions within a source by the
        square root of their length, and clips within an action by length.
        """
        lengths = self.lengths.cpu().double()
        action_length: dict[tuple[str, str], float] = {}
        for key, length in zip(zip(self.sources, self.actions, strict=True), lengths.tolist(), strict=True):
            action_length[key] = action_length.get(key, 0.0) + length
        source_weight: dict[str, float] = {}
        for (source, _), length in action_length.items():
            source_weight[source] = source_weight.get(source, 0.0) + length**0.5
        smallest = min(SOURCE_SHARES.values())
        weights = torch.tensor(
            [
                SOURCE_SHARES.get(source, smallest) / source_weight[source] * action_length[source, action] ** -0.5
                for source, action in zip(self.sources, self.actions, strict=True)
            ],
            dtype=torch.float64,
        )
        weights *= lengths
        return (weights / weights.sum()).to(self.joints.device)


def _read_clips(root: Path, clips: list[dict[str, Any]]) -> list[NDArray[np.int16]]:
    shards = {name: _open_shard(root / name) for name in sorted({clip["shard"] for clip in clips})}
    arrays = []
    for clip in clips:
        try:
            array = shards[clip["shard"]][clip["key"]]
        except KeyError:
            raise InvalidDataset(
                f"{root / clip['shard']} lacks the clip {clip['key']} that index.json names."
            ) from None
        if array.ndim != 3 or array.shape[1:] != (17, 3) or len(array) == 0:
            raise InvalidDataset(f"The clip {clip['key']} has the shape {array.shape}, not (frames, 17, 3).")
        arrays.append(array)
    return arrays


def _open_shard(file: Path) -> "np.lib.npyio.NpzFile":
    try:
        shard = np.load(file)
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{file} is missing or no npz file.") from error
    assert isinstance(shard, np.lib.npyio.NpzFile)
    return shard
