"""Stage I of P-STMO from sequence to sequence."""

import pytest
import torch

from poselift.errors import InvalidArtifact
from poselift.lifters.pstmo.pretraining import draw_masks
from poselift.lifters.pstmo.sequence import SequenceSTMO
from poselift.lifters.pstmo.sequence_pretraining import MaskedSequenceModel
from poselift.lifters.pstmo.sequence_start import start_from
from tests.unit.lifters.pstmo.small_sequence import small

MISSING = float("nan")


def test_hidden_input_leaves_no_trace() -> None:
    model = MaskedSequenceModel(small(layers=3)).eval()
    hidden_frames, hidden_joints = draw_masks(model.config, 0.5, 4, torch.Generator().manual_seed(1))
    windows = torch.randn(2, 9, 17, 2)
    changed = torch.where(hidden_joints.unsqueeze(-1), torch.randn(2, 9, 17, 2), windows)
    changed[:, hidden_frames] = MISSING
    with torch.no_grad():
        rebuilt = model(windows, hidden_frames, hidden_joints)
        assert rebuilt.shape == (2, 9, 17, 2)
        torch.testing.assert_close(model(changed, hidden_frames, hidden_joints), rebuilt)


def test_stage_one_learns_and_hands_its_encoder_on() -> None:
    model = MaskedSequenceModel(small())
    masks = model.draw_masks(0.5, 2, torch.Generator().manual_seed(1))
    windows, joints = torch.randn(8, 9, 17, 2), torch.randn(8, 9, 17, 3)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = model.loss(windows, windows, joints, masks, 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    loaded = SequenceSTMO(small()).load_state_dict(start_from(small(), model.encoder_state()), strict=False)
    assert not loaded.unexpected_keys
    assert all(name.startswith("frames_head.") for name in loaded.missing_keys)


def test_decoder_needs_its_own_heads_to_fit() -> None:
    with pytest.raises(InvalidArtifact, match="decoder"):
        MaskedSequenceModel(small(channels=24, heads=8))
    assert len(MaskedSequenceModel(small(layers=1)).decoder.layers) == 1
