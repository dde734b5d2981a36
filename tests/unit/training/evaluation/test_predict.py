from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from poselift_training.data.h36m import TEST_SUBJECTS, read_h36m
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.predict import predict, scored_frames, stride_of

from poselift.artifacts.artifact import Artifact
from poselift.errors import InvalidDataset
from poselift.lifting import lay_windows
from poselift.sequence import Sequence
from tests.golden_files import golden
from tests.unit.training.evaluation.golden_artifacts import POSE_M, TINY_H36M, artifact, sequence_artifact
from tests.unit.training.evaluation.walkers import moving, untrained_lifter, views_of


@pytest.mark.parametrize("stride", [1, 2])
def test_blended_poses_are_those_that_are_served(stride: int) -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    first = slice(0, int(people.lengths[0]))
    people = replace(people, valid=people.sequence_of_frame == 0)
    served = sequence_artifact(temporal_stride=stride)
    blended = predict(served.lifter, served.manifest, people, blended=True)
    joints = torch.from_numpy(lift_screen(served, people.keypoints[first].numpy()))
    torch.testing.assert_close(blended, joints, rtol=0, atol=POSE_M)


def lift_screen(served: Artifact, screen: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the server answers for these screen coordinates, but for the root, which it sets to zero."""
    times = Sequence.times_at(50, len(screen))
    prepared = lay_windows(screen, np.zeros(screen.shape[:2], np.bool_), times, served.manifest, None)
    with torch.no_grad():
        answers = served.lifter(torch.from_numpy(prepared.frames[prepared.index])).frames
    assert answers is not None
    return prepared.poses(answers.numpy(), served.manifest).joints


def test_a_sequence_lifter_at_a_stride_lifts_interleaved_sequences() -> None:
    people = read_h36m(TINY_H36M, "gt", ("S9",))
    strided = sequence_artifact(temporal_stride=2)
    poses = predict(strided.lifter, strided.manifest, people)
    frames = scored_frames(strided.lifter, strided.manifest, people)
    assert set(frames.tolist()) == set(range(len(people.keypoints)))
    length = int(people.lengths[0])
    odd = people.keypoints[1:length:2]
    expected = strided.lifter(odd[:27][None]).frames
    assert expected is not None
    even_chunks = 2 * 27 if (length + 1) // 2 > 27 else 27
    torch.testing.assert_close(poses[even_chunks : even_chunks + 27], expected[0], rtol=0, atol=POSE_M)


def test_poses_equal_the_official_ones() -> None:
    expected = golden("tiny_h36m_expected")
    windows = expected["index/gt_tds2"]
    people = read_h36m(TINY_H36M, "gt", TEST_SUBJECTS)
    people = replace(people, valid=torch.zeros_like(people.valid).index_fill(0, windows, True))
    imported = artifact()
    lifter = imported.lifter.for_inference()
    plain, mirrored = (predict(lifter, imported.manifest, people, mirrored=flag) for flag in (False, True))
    poses = (plain + mirrored) / 2
    poses[:, 0] = 0
    torch.testing.assert_close(poses, expected["pred/gt_tds2"], rtol=0, atol=POSE_M)
    torch.testing.assert_close(people.joints[people.valid], expected["target/gt_tds2"], rtol=0, atol=POSE_M)


def test_a_frame_rate_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidDataset, match=r"every 66\.6667 ms.*50 frames per second"):
        evaluate(artifact(frame_rate_hz=30), data="h36m", root=TINY_H36M, keypoints="gt")


def test_data_without_the_frames_to_smooth_with_is_refused() -> None:
    who = untrained_lifter("token", smoothed=True)
    slower = who.manifest.model_copy(update={"frame_rate_hz": 100, "temporal_stride": 4})
    with pytest.raises(InvalidDataset, match="every 10 ms"):
        stride_of(slower, views_of(moving((9,)), noise=False))
