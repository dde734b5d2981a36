"""The network for keypoints and 3D poses."""

import pytest
import torch

from poselift.errors import InvalidCheckpoint
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.mpm.pose_space import PoseSpace
from poselift.lifters.official.mpm import export_pose_space
from tests.unit.lifters.mpm.small import small


@pytest.mark.parametrize(
    ("frames", "layers", "decoder_layers", "millions"),
    [(243, 4, 1, 4.017), (27, 3, 2, 4.434)],
    ids=["pretraining", "completion"],
)
def test_parameters_of_the_masked_networks(frames: int, layers: int, decoder_layers: int, millions: float) -> None:
    with torch.device("meta"):
        official = export_pose_space(PoseSpace(MPMConfig(frames, layers=layers), decoder_layers))
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    total = sum(value.numel() for name, value in official.items() if not name.endswith(buffers))
    assert total / 1e6 == pytest.approx(millions, abs=5e-4)


@torch.no_grad()
def test_hidden_input_has_no_influence() -> None:
    torch.manual_seed(1)
    model = PoseSpace(small(), 2).eval()
    hidden_joints = torch.rand(3, 1, 17) < 0.3
    hidden_frames = torch.tensor([0, 1, 1, 0, 0, 1, 0, 0, 1]).bool()
    for dimensions in (2, 3):
        windows = torch.randn(3, 9, 17, dimensions)
        changed = windows.masked_fill(hidden_joints.unsqueeze(-1), torch.nan)
        changed[:, hidden_frames] = 7.0
        rebuilt = model(windows, hidden_joints, hidden_frames, lift=True)
        torch.testing.assert_close(model(changed, None, hidden_frames, lift=True), rebuilt)
        assert rebuilt.joints.shape == (3, 9, 17, 3)


@pytest.mark.parametrize("left", [1, 8], ids=["one visible", "one hidden"])
@torch.no_grad()
def test_a_single_visible_or_hidden_frame(left: int) -> None:
    """The official code crashes on both."""
    hidden = torch.arange(9) >= left
    rebuilt = PoseSpace(small(), 1).eval()(torch.randn(2, 9, 17, 2), None, hidden)
    assert rebuilt.keypoints.shape == (2, 9, 17, 2)
    assert rebuilt.keypoints.isfinite().all()


@torch.no_grad()
def test_person_centred_keypoints_depend_on_the_picture_only_through_the_context() -> None:
    torch.manual_seed(1)
    model = PoseSpace(small(person_centred=True), 1).eval()
    windows = torch.randn(2, 9, 17, 2)
    hidden = torch.rand(9, 17) < 0.3
    changed = windows.masked_fill(hidden.unsqueeze(-1), 7.0)  # hidden joints must not affect the mean and the size
    torch.testing.assert_close(model(changed, hidden).keypoints, model(windows, hidden).keypoints)
    torch.testing.assert_close(model.target(3 * windows + 1), model.target(windows))
    lifter = MPM(model.config)
    assert not lifter.load_state_dict(model.lifter_state(), strict=False).unexpected_keys
    with pytest.raises(InvalidCheckpoint, match="person-centred"):
        export_pose_space(model)
