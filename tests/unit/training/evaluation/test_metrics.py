from collections.abc import Callable

import pytest
import torch
from poselift_training.evaluation.metrics import (
    auc,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    pck,
    pck_joints,
    procrustes_aligned,
    velocity_error,
)

from poselift.skeletons import skeleton
from tests.golden_files import golden, golden_json

# float64 on both sides; the SVDs of two libraries differ in the last digits.
EXACT = 1e-12


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return {key.removeprefix("metric/"): value for key, value in golden("camera_and_metrics").items()}


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    numbers: dict[str, float] = golden_json("camera_and_metrics")
    return numbers


def test_distances_equal_the_official_ones(tensors: dict[str, torch.Tensor], expected: dict[str, float]) -> None:
    predicted, transformed, target = tensors["pred"], tensors["pred_transformed"], tensors["target"]
    assert mpjpe(predicted, target).item() == pytest.approx(expected["mpjpe"], abs=EXACT)
    assert n_mpjpe(transformed, target).item() == pytest.approx(expected["n_mpjpe"], abs=EXACT)
    velocity = [velocity_error(poses, target).item() for poses in (predicted, transformed)]
    assert velocity == pytest.approx(
        [expected["velocity_error_axis0"], expected["velocity_error_transformed"]], abs=EXACT
    )


@pytest.mark.parametrize(("predicted", "expected"), [("pred", "pred"), ("pred_transformed", "transformed")])
def test_p_mpjpe_equals_the_official_one_in_every_frame(
    predicted: str, expected: str, tensors: dict[str, torch.Tensor]
) -> None:
    official, target = tensors[f"p_mpjpe_per_frame_{expected}"], tensors["target"]
    per_frame = (procrustes_aligned(tensors[predicted], target) - target).norm(dim=-1).mean(dim=-1)
    torch.testing.assert_close(per_frame, official, rtol=0, atol=EXACT)
    assert p_mpjpe(tensors[predicted], target).item() == pytest.approx(official.mean().item(), abs=EXACT)


def test_alignment_rotates_but_never_reflects() -> None:
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(50, 17, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)).Q
    rotation = rotation * torch.linalg.det(rotation).sign()[:, None, None]
    moved = 3 * pose @ rotation + torch.tensor([5.0, -2.0, 9.0], dtype=torch.float64)
    assert p_mpjpe(moved, pose).item() < EXACT
    assert p_mpjpe(pose * torch.tensor([-1, 1, 1]), pose).item() > 0.1


def test_a_prediction_collapsed_to_a_point_is_scored() -> None:
    target = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0))
    spread = (target - target.mean(dim=-2, keepdim=True)).norm(dim=-1).mean()
    torch.testing.assert_close(p_mpjpe(torch.ones_like(target), target), spread)
    torch.testing.assert_close(n_mpjpe(torch.zeros_like(target), target), target.norm(dim=-1).mean())


def test_velocity_ignores_steps_between_sequences() -> None:
    target = torch.zeros(4, 17, 3)
    predicted = torch.zeros(4, 17, 3)
    predicted[2:] = 100.0
    assert velocity_error(predicted, target).item() > 50
    assert velocity_error(predicted, target, follows=torch.tensor([True, False, True])).item() == 0


def test_pck_and_auc_equal_the_matlab_definition(tensors: dict[str, torch.Tensor]) -> None:
    errors = tensors["err_mm_40x17"]
    target = torch.zeros(*errors.shape, 3, dtype=torch.float64)
    predicted = target.clone()
    predicted[..., 0] = errors
    joints = pck_joints(skeleton("mpi17"))
    expected = golden_json("camera_and_metrics")["pck_auc_matlab_definition"]
    scores = [pck(predicted, target, joints).item(), auc(predicted, target, joints).item()]
    assert scores == pytest.approx(expected, abs=1e-9)


def test_pck_is_strictly_below_the_threshold() -> None:
    target = torch.zeros(1, 17, 3)
    predicted = target.clone()
    predicted[..., 2] = 150.0
    joints = pck_joints(skeleton("h36m17"))
    assert pck(predicted, target, joints).item() == 0
    assert pck(predicted * 0.999, target, joints).item() == 100
    assert auc(target, target, joints).item() == pytest.approx(100 * 30 / 31)


def test_pck_counts_the_official_joints() -> None:
    assert pck_joints(skeleton("mpi17")) == tuple(range(14))
    assert pck_joints(skeleton("h36m17")) == tuple(range(1, 17))


@pytest.mark.parametrize(
    ("predicted", "target"),
    [((2, 17, 3), (3, 17, 3)), ((2, 17, 2), (2, 17, 2)), ((3,), (3,)), ((0, 17, 3), (0, 17, 3))],
)
@pytest.mark.parametrize("score", [mpjpe, p_mpjpe, n_mpjpe, velocity_error])
def test_shapes_are_checked(
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], predicted: tuple[int, ...], target: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="pose"):
        score(torch.zeros(predicted), torch.zeros(target))
