import numpy as np
import torch
from poselift_training.data.synthetic.detector import Detector, coco_from_h36m
from poselift_training.data.synthetic.simulate import ViewSimulator
from poselift_training.data.synthetic.views import Views

from poselift.skeletons import convert, skeleton
from tests.unit.training.data.synthetic.sampling import TYPICAL, draw_windows

H36M, COCO = skeleton("h36m17"), skeleton("coco17")


def test_occlusions_of_limbs_are_short_in_long_sequences(motion):
    detector = Detector(TYPICAL, torch.device("cpu"))
    hidden = detector._draw_stretches(
        torch.Size((200, 1000)), 0.02, 0.35, detector._occluded, torch.Generator().manual_seed(0)
    )
    assert 0.01 < hidden.float().mean() < 0.2
    longest = 2 * 80 + 1  # a stretch that ends hidden, and the next one that begins so, 80 frames each
    assert not hidden.unfold(1, longest, 1).all(dim=-1).any()


def test_noise_has_its_stated_size_and_whole_joints_are_missing(motion):
    views = Views(direct=0.0)
    batch = draw_windows(motion, views, batch_size=1024).batch(0)
    missing = batch.windows.isnan()
    assert (missing[..., 0] == missing[..., 1]).all()
    assert not batch.clean.isnan().any()
    assert 0.02 < missing.float().mean() < 0.25
    error = (batch.windows - batch.clean).norm(dim=-1)
    size = (batch.clean[:, :, 10] - batch.clean[:, :, 0]).norm(dim=-1)[..., None]  # pelvis to head, about 0.75 m
    error_m = (error / size * 0.75).nanmedian()
    assert 0.005 < error_m < 0.05


def test_keypoints_are_converted_like_those_of_a_real_detector(motion):
    coco = torch.randn(3, 4, 17, 2)
    coco[0, 0, 5] = torch.nan
    ours = Detector(Views(), torch.device("cpu")).to_h36m(coco)
    scored = np.concatenate([coco.numpy(), np.ones((3, 4, 17, 1), np.float32)], axis=-1)
    np.testing.assert_allclose(ours.numpy(), convert(scored, COCO, H36M)[..., :2], atol=1e-6)


def test_a_face_in_front_of_the_head(motion):
    coco = coco_from_h36m(motion.joints[:1])[0]
    at = dict(zip(COCO.joint_names, coco, strict=True))
    assert at["nose"][1] > at["left_eye"][1] > at["left_ear"][1]  # faces +y
    assert at["left_ear"][0] < 0 < at["right_ear"][0]  # so its left is -x
    assert at["left_eye"][2] > at["nose"][2]


def test_swapped_limbs_are_at_the_positions_of_the_other_side(motion):
    views = Views(swaps=1.0, noise_scale=0.0)
    simulator = ViewSimulator(views, torch.device("cpu"))
    world = motion.joints[:100].expand(200, -1, -1, -1)
    windows, clean, *_ = simulator.view(world, 0.02, torch.Generator().manual_seed(0))
    knees = [H36M.joint_names.index(f"{side}_knee") for side in ("left", "right")]
    seen, true = windows[:, :, knees], clean[:, :, knees]
    apart = (true[:, :, 0] - true[:, :, 1]).norm(dim=-1) > 0.02
    swapped = (seen - true.flip(2)).norm(dim=-1).amax(dim=-1) < 1e-5
    right = (seen - true).norm(dim=-1).amax(dim=-1) < 1e-5
    assert 0.05 < swapped[apart].float().mean() < 0.5
    assert (swapped | right | seen.isnan().any(dim=(-2, -1)))[apart].all()


def test_bursts_make_errors_larger_for_a_while(motion):
    spread = []
    for bursts in (0.0, 1.0):
        simulator = ViewSimulator(Views(bursts=bursts), torch.device("cpu"))
        world = motion.joints[:100].expand(100, -1, -1, -1)
        windows, clean, *_ = simulator.view(world, 0.02, torch.Generator().manual_seed(0))
        spread.append((windows - clean).diff(dim=1).nan_to_num(0).square().mean())
    assert spread[1] > 1.3 * spread[0]
