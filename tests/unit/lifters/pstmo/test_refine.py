"""The refine module and the back-projection against golden vectors of the official code."""

import pytest
import torch
from torch import Tensor

from poselift.lifters.official.pstmo import import_pstmo
from poselift.lifters.pstmo.refine import RefineModule, back_project
from tests.golden_files import golden, golden_json
from tests.unit.lifters.golden_steps import GRADIENT, official_weights

NAME = "pstmo_refine_j17"
ROOT = 0
FLOAT32 = 3e-5
FLOAT64 = 1e-9


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return golden(NAME)


@pytest.fixture
def refine(vectors: dict[str, Tensor]) -> RefineModule:
    lifter = official_weights(golden("pstmo_c64_h128_n27_l3"))
    refine = import_pstmo(lifter, official_weights(vectors))[1]
    assert refine is not None
    return refine


def back_projected(vectors: dict[str, Tensor], predicted: Tensor) -> Tensor:
    keypoints = vectors["inputs/uv_centre_B1J2"][:, 0].to(predicted.dtype)
    root_depth = vectors["inputs/gt_single_root_absolute"][:, 0, ROOT, 2].to(predicted.dtype)
    return back_project(keypoints, predicted, root_depth, vectors["inputs/cam_B9"].to(predicted.dtype), ROOT)


def test_back_projection(vectors: dict[str, Tensor]) -> None:
    placed = back_projected(vectors, vectors["inputs/pred_B1J3"][:, 0])
    torch.testing.assert_close(placed, vectors["outputs/uvd2xyz_root_zeroed"][:, 0], atol=FLOAT32, rtol=0)
    assert not placed[:, ROOT].any()


@torch.no_grad()
@pytest.mark.parametrize(
    ("dtype", "name", "tolerance"),
    [(torch.float32, "outputs/refined", FLOAT32), (torch.float64, "outputs_f64/refined", FLOAT64)],
)
def test_refined(
    refine: RefineModule, vectors: dict[str, Tensor], dtype: torch.dtype, name: str, tolerance: float
) -> None:
    predicted = vectors["inputs/pred_B1J3"][:, 0].to(dtype)
    # The float64 vectors refine the float32 back-projection, widened.
    placed = vectors["outputs/uvd2xyz_root_zeroed"][:, 0].to(dtype)
    refined = refine.to(dtype)(predicted, placed)
    torch.testing.assert_close(refined, vectors[name][:, 0], atol=tolerance, rtol=0)
    assert torch.equal(refined[..., 2], predicted[..., 2])


def test_gradient_reaches_the_prediction_both_ways(refine: RefineModule, vectors: dict[str, Tensor]) -> None:
    expected = golden_json(NAME)["train_mode"]
    predicted = vectors["inputs/pred_B1J3"][:, 0].clone().requires_grad_()
    target = vectors["inputs/gt_single_root_absolute"][:, 0].clone()
    target[:, ROOT] = 0
    refined = refine(predicted, back_projected(vectors, predicted))
    loss = torch.linalg.vector_norm(refined - target, dim=-1).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    assert predicted.grad is not None
    wanted = vectors["train/grad_wrt_pred"][:, 0]
    torch.testing.assert_close(predicted.grad, wanted, atol=GRADIENT * wanted.abs().max().item(), rtol=0)
    for ours, official in {"widen": "post_refine.0", "narrow": "post_refine.3"}.items():
        for kind in ("weight", "bias"):
            gradient = refine.get_parameter(f"{ours}.{kind}").grad
            assert gradient is not None
            norm = vectors[f"train/grad/{official}.{kind}"].item()  # only their norm is stored
            assert gradient.norm().item() == pytest.approx(norm, rel=GRADIENT)


def test_parameter_count(refine: RefineModule) -> None:
    assert sum(parameter.numel() for parameter in refine.parameters()) == 140_322
