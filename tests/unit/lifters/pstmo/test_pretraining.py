"""Masked pretraining."""

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.frame_features import person_centre
from poselift.lifters.pstmo.network import STMO, STMOConfig
from poselift.lifters.pstmo.pretraining import MaskedPoseModel, draw_masks
from tests.unit.lifters.pstmo.small import MISSING, small


@pytest.mark.parametrize(
    ("frames", "rate", "hidden"), [(243, 0.8, 194), (243, 0.6, 145), (81, 0.7, 56), (27, 0.8, 21), (27, 0.0, 0)]
)
def test_mask_counts(frames: int, rate: float, hidden: int) -> None:
    hidden_frames, hidden_joints = draw_masks(small(frames), rate, 3, torch.Generator().manual_seed(1))
    assert hidden_frames.sum() == hidden
    assert (hidden_joints.sum(dim=1) == 3).all()


def test_masks_follow_their_generator_and_include_every_joint() -> None:
    first, again, other = (draw_masks(small(243), 0.5, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[1].any(dim=0).all()


def test_hidden_input_has_no_influence() -> None:
    model = MaskedPoseModel(small(person_centred=True)).eval()
    hidden_frames, hidden_joints = draw_masks(model.config, 0.8, 4, torch.Generator().manual_seed(1))
    windows = torch.randn(2, 27, 17, 2)
    changed = torch.where(hidden_joints.unsqueeze(-1), torch.randn(2, 27, 17, 2), windows)
    changed[:, hidden_frames] = MISSING
    with torch.no_grad():
        rebuilt = model(windows, hidden_frames, hidden_joints)
        assert rebuilt.shape == (2, 27, 17, 2)
        torch.testing.assert_close(model(changed, hidden_frames, hidden_joints), rebuilt)


def test_pretraining_target_is_in_the_encoders_coordinates() -> None:
    clean = torch.randn(2, 27, 17, 2)
    assert MaskedPoseModel(small()).target(clean) is clean
    torch.testing.assert_close(MaskedPoseModel(small(person_centred=True)).target(clean), person_centre(clean)[0])


@pytest.mark.parametrize("mask_token", [False, True])
def test_the_encoder_state_has_the_token_only_with_mask_token(mask_token: bool) -> None:
    config = small(mask_token=mask_token, person_centred=True)
    state = MaskedPoseModel(config).encoder_state()
    assert ("embedding.mask_token" in state) == mask_token
    assert not STMO(config).load_state_dict(state, strict=False).unexpected_keys


def test_heads_must_divide_the_decoders_channels() -> None:
    with pytest.raises(InvalidArtifact, match="decoder"):
        MaskedPoseModel(STMOConfig(27, channels=24, heads=8))
