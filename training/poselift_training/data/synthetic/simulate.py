"""Views of motion through virtual cameras and detectors, for single windows and for whole clips."""

import math
from dataclasses import replace

import numpy as np
import torch

from poselift.coordinates import world_to_camera
from poselift.skeletons import skeleton
from poselift_training.data.mocap import Motion
from poselift_training.data.sequences import Recording, Sequences
from poselift_training.data.synthetic.cameras import draw_cameras, draw_framing
from poselift_training.data.synthetic.detector import Detector
from poselift_training.data.synthetic.views import View, Views

_H36M = skeleton("h36m17")


class ViewSimulator:
    """Turns joints in the world into what a detector would report, in the lifter's skeleton.

    Everything is batched tensor work on one device.
    """

    def __init__(self, views: Views, device: torch.device) -> None:
        self.views = views
        self.device = device
        self.detector = Detector(views, device)

    def view(self, world: torch.Tensor, dt_s: float, generator: torch.Generator) -> View:
        """View each sequence with a camera of its own and detect its keypoints.

        Args:
            world: [B, T, 17, 3] metres, z up, Human3.6M joints.
            dt_s: time between two frames.
        """
        framing = draw_framing(self.views, len(world), generator, self.device)
        rotation, translation = draw_cameras(self.views, world, framing, generator)
        joints = world_to_camera(world, rotation, translation)
        body = self.detector.draw_keypoint_definition(world, generator)

        exact = framing.project(joints)
        detected = framing.project(world_to_camera(body, rotation, translation))
        direct = torch.rand((len(world), 1, 1, 1), generator=generator, device=self.device) < self.views.direct
        clean = torch.where(direct, exact, self.detector.to_h36m(detected))
        windows = clean
        if self.views.noise:
            screen_per_m = framing.focal[:, None, None, :1] / joints[:, :, :1, 2:]
            errors = self.detector.draw_errors(
                detected, framing, dt_s=dt_s, screen_per_m=screen_per_m, generator=generator
            )
            windows = clean + self.detector.to_h36m(errors)
        if self.views.exact:
            right = torch.rand((len(world), 1, 1, 1), generator=generator, device=self.device) < self.views.exact
            windows = torch.where(right, clean, windows)
        in_picture = framing.contains(exact).float().mean(dim=-1)
        return View(windows, clean, joints, in_picture, rotation[:, 0, 2], framing.focal)


def simulate_views(motion: Motion, views: Views, seed: int, longest_s: float = 10.0, cameras: int = 1) -> Sequences:
    """View whole clips, every frame of them; long clips are cut, and each part has a camera and detector of its own.

    The same seed gives the same views, and the same cameras with and without noise.

    Args:
        longest_s: longest part of a clip that one camera sees, seconds.
        cameras: number of cameras, each with its own detector, that see each clip.
    Returns:
        Sequences whose actions are named "source: action". Frames with most of the joints outside of the picture are
        included, but not valid for scoring.
    """
    generator = torch.Generator(motion.joints.device)
    simulator = ViewSimulator(replace(views, direct=0.0), motion.joints.device)
    recordings: list[Recording] = []
    for clip, (start, length) in enumerate(zip(motion.starts.tolist(), motion.lengths.tolist(), strict=True)):
        parts = math.ceil(length / (longest_s * motion.fps))
        viewed = motion.joints[start : start + length].tensor_split(parts) * cameras
        for part, world in enumerate(viewed):
            # Noise draws from the same generator, so it is seeded for each view: cameras must not depend on noise.
            generator.manual_seed(seed * 1_000_003 + len(recordings))
            view = simulator.view(world[None], 1 / motion.fps, generator)
            recordings.append(
                Recording(
                    subject=motion.subjects[clip],
                    action=f"{motion.sources[clip]}: {motion.actions[clip]}",
                    camera=f"{clip}.{part}",
                    keypoints=view.windows[0].cpu().numpy(),
                    joints=view.joints[0].cpu().numpy(),
                    valid=(view.in_picture[0] >= 0.5).cpu().numpy(),
                    intrinsics=np.array(
                        [view.focal.item()] * 2 + [0.0] * 7
                    ),  # the middle of the picture, no distortion
                    up=view.up[0].cpu().numpy(),
                )
            )
    return Sequences.join(recordings, _H36M, unit_m=1.0, frame_rate_hz=motion.fps).to(motion.joints.device)
