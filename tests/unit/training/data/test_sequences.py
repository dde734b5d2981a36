from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from poselift_training.data.h36m import TRAIN_SUBJECTS, read_h36m
from poselift_training.data.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from poselift_training.data.sequences import Recording, Sequences, WindowBatches, count_windows

from poselift.coordinates import mirror
from poselift.errors import InvalidDataset
from poselift.skeletons import skeleton
from poselift.windows import window_offsets
from tests.golden_files import GOLDEN, golden

# float32 of camera transforms in float64 here and in float32 there; metres, and screen units.
READ = 2e-6
H36M = skeleton("h36m17")


def recording(frames: int, number: int = 0) -> Recording:
    """A person whose root tells the sequence and the frame: keypoint and joint at 1000 * number + frame + 1."""
    root = 1000.0 * number + np.arange(1, frames + 1)
    joints = root[:, None, None] * np.arange(1, 18)[:, None] * np.ones(3)
    return Recording(f"S{number}", "Walking", "0", keypoints=joints[..., :2], joints=joints)


def sequences(lengths: Iterable[int]) -> Sequences:
    recordings = [recording(frames, number) for number, frames in enumerate(lengths)]
    return Sequences.join(recordings, H36M, unit_m=1.0, frame_rate_hz=50.0)


def batches(*, batch_size: int = 8, seed: int = 1) -> WindowBatches:
    return WindowBatches(sequences([30, 5, 12]), frames=9, stride=2, batch_size=batch_size, seed=seed)


def test_windows_of_every_frame_equal_the_official_ones() -> None:
    official = np.load(GOLDEN / "tds_windows.npz")
    checked = 0
    for name in official.files:
        if name.startswith("defect"):
            continue
        length, frames, stride = (int(part.lstrip("LNtds")) for part in name.split("_"))
        # A neighbour on either side shows that no window reaches into another sequence.
        people = sequences([7, length, 7])
        centres = torch.arange(7, 7 + length)
        windows = people.windows(centres, torch.from_numpy(window_offsets(frames, stride))) - 7
        np.testing.assert_array_equal(windows.numpy(), official[name])
        checked += 1
    assert checked == 6


def test_a_sequence_shorter_than_its_window_is_padded_on_both_sides() -> None:
    windows = sequences([40, 3]).windows(torch.tensor([41]), torch.arange(-4, 5))
    assert windows.tolist() == [[40, 40, 40, 40, 41, 42, 42, 42, 42]]


@pytest.mark.parametrize("item", [0, 40, 2687])
def test_h36m_training_items_equal_the_official_ones(item: int) -> None:
    expected = {
        key.rpartition("/")[2]: value for key, value in golden("tiny_h36m_expected").items() if f"/{item}/" in key
    }
    people = read_h36m(GOLDEN / "tiny_h36m", "cpn_ft_h36m_dbb", TRAIN_SUBJECTS)
    source = WindowBatches(people, frames=27, stride=2, batch_size=160, seed=1)
    # The first two items are plain and early, the last one is the last frame's mirrored window: equal in both orders.
    batch = source.windows(torch.tensor([item]))
    torch.testing.assert_close(batch.windows[0], expected["x"], rtol=0, atol=READ)
    torch.testing.assert_close(batch.clean[0], expected["x"], rtol=0, atol=READ)
    expected["gt_3d"][:, 0] = 0  # the official array keeps the root's place in its row
    torch.testing.assert_close(batch.joints[0], expected["gt_3d"], rtol=0, atol=READ)


def test_3dhp_training_item_equals_the_official_one() -> None:
    expected = golden("tiny_3dhp_expected")
    people = read_3dhp_train(GOLDEN / "tiny_3dhp")
    source = WindowBatches(people, frames=27, stride=1, batch_size=160, seed=1)
    batch = source.windows(torch.tensor([len(people.keypoints) + 5]))
    torch.testing.assert_close(batch.windows[0], expected["train_item/45/x"], rtol=0, atol=READ)
    expected["train_item/45/gt_3d"][:, 14] = 0
    torch.testing.assert_close(batch.joints[0], expected["train_item/45/gt_3d"], rtol=0, atol=1e-3)


def test_3dhp_test_item_equals_the_official_one() -> None:
    expected = golden("tiny_3dhp_expected")
    people = read_3dhp_test(GOLDEN / "tiny_3dhp")
    centre = people.valid.nonzero()[0]
    window = people.keypoints[people.windows(centre, torch.from_numpy(window_offsets(27, 1)))][0]
    both = torch.stack([window, mirror(window, people.skeleton)])
    torch.testing.assert_close(both, expected["test_item/0/x_with_flip"], rtol=0, atol=READ)
    joints = expected["test_item/0/gt_3d"][0]
    torch.testing.assert_close(people.roots[centre][0], joints[14])
    torch.testing.assert_close(people.joints[centre][0][:14], joints[:14])


def test_each_epoch_holds_every_window_once_plain_and_once_mirrored() -> None:
    source = batches(batch_size=2)
    roots = [1000.0 * number + frame + 1 for number, frames in enumerate((30, 5, 12)) for frame in range(frames)]
    assert source.steps_per_epoch == len(roots)
    for epoch in (0, 1):
        steps = range(epoch * len(roots), (epoch + 1) * len(roots))
        middles = torch.cat([source.batch(step).windows[:, 4, 0, 0] for step in steps])
        assert sorted(middles.tolist()) == sorted([*roots, *(-root for root in roots)])


def test_windows_and_joints_belong_together() -> None:
    batch = batches(batch_size=94).batch(0)
    other = mirror(batch.windows, H36M)
    mirrored = batch.windows[:, :1, :1, :1] < 0
    # A joint's place is a multiple of the root's, equal in x and y: joints relative to the root are what is left.
    plain = torch.where(mirrored, other, batch.windows)
    expected = (plain - plain[:, :, :1])[..., [0, 1, 1]]
    torch.testing.assert_close(torch.where(mirrored, mirror(batch.joints, H36M), batch.joints), expected)
    assert batch.clean is batch.windows


def test_a_batch_depends_only_on_seed_and_step() -> None:
    forwards = [batches().batch(step).windows for step in range(25)]
    source = batches()
    for step in reversed(range(25)):
        torch.testing.assert_close(source.batch(step).windows, forwards[step], rtol=0, atol=0)
    assert not torch.equal(batches(seed=2).batch(0).windows, forwards[0])
    assert not torch.equal(forwards[source.steps_per_epoch], forwards[0])


@pytest.mark.parametrize(
    ("length", "centres"),
    [
        (27, [4, 13, 22]),
        (20, [1, 10, 19]),  # three frames too few on the left, four on the right
        (3, [1]),
    ],
)
def test_windows_back_to_back_extend_past_both_ends_equally(length: int, centres: list[int]) -> None:
    found = sequences([5, length]).back_to_back(9, stride=1)
    assert found.tolist() == [2, *(5 + centre for centre in centres)]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_back_to_back_hold_every_frame_once(stride: int) -> None:
    people = sequences([54, 27 * stride])
    source = WindowBatches(people, frames=9, stride=stride, batch_size=1, seed=1, mirrored=False, back_to_back=True)
    roots = torch.cat([source.batch(step).windows[0, :, 0, 0] for step in range(source.steps_per_epoch)])
    if 54 % (9 * stride) == 0:
        assert sorted(roots.tolist()) == sorted(people.keypoints[:, 0, 0].tolist())
    else:
        assert set(roots.tolist()) == set(people.keypoints[:, 0, 0].tolist())


def test_windows_back_to_back_are_mirrored_too() -> None:
    source = WindowBatches(sequences([27]), frames=9, stride=1, batch_size=6, seed=1, back_to_back=True)
    batch = source.batch(0)
    assert sorted(batch.windows[:, 4, 0, 0].tolist()) == [-23, -14, -5, 5, 14, 23]
    mirrored = batch.windows[:, :1, :1, :1] < 0
    plain = torch.where(mirrored, mirror(batch.windows, H36M), batch.windows)
    expected = (plain - plain[:, :, :1])[..., [0, 1, 1]]
    torch.testing.assert_close(torch.where(mirrored, mirror(batch.joints, H36M), batch.joints), expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("back_to_back", [True, False])
def test_windows_can_be_counted_without_cutting_them(stride: int, back_to_back: bool) -> None:
    people = sequences([54, 20, 1])
    count = count_windows(people.lengths, frames=9, stride=stride, back_to_back=back_to_back)
    source = WindowBatches(
        people, frames=9, stride=stride, batch_size=1, seed=1, mirrored=False, back_to_back=back_to_back
    )
    assert count == source.steps_per_epoch


def test_fewer_windows_than_a_step_takes_are_refused() -> None:
    with pytest.raises(InvalidDataset, match="94 windows, but one step takes 95"):
        batches(batch_size=95)


@pytest.mark.parametrize(
    "broken",
    [
        replace(recording(5), keypoints=np.zeros((4, 17, 2))),
        replace(recording(5), joints=np.zeros((5, 16, 3))),
        replace(recording(5), valid=np.ones(4, dtype=np.bool_)),
        recording(0),
    ],
)
def test_inconsistent_recordings_are_refused(broken: Recording) -> None:
    with pytest.raises(InvalidDataset, match="S0 Walking"):
        Sequences.join([recording(3), broken], H36M, unit_m=1.0, frame_rate_hz=50.0)


def test_no_recording_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="no sequence"):
        Sequences.join([], H36M, unit_m=1.0, frame_rate_hz=50.0)
