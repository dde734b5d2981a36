"""The refine module of P-STMO, its optional third step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN = 1024


class RefineModule(nn.Module):
    """Blend a predicted pose with its back-projection, joint by joint, in x and y.

    It needs the camera and the true depth of the root, so it is for evaluation on data sets, not for video.
    """

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.widen = nn.Linear(6 * joints, _HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.narrow = nn.Linear(_HIDDEN, 2 * joints)

    def forward(self, predicted: Tensor, back_projected: Tensor) -> Tensor:
        """Refine poses [B, J, 3] with those of `back_project` [B, J, 3]; z stays as predicted."""
        both = torch.cat((predicted, back_projected), dim=-1).flatten(1)
        weight = torch.sigmoid(self.narrow(self.dropout(F.relu(self.widen(both))))).view(-1, self.joints, 2)
        blended = weight * predicted[..., :2] + (1 - weight) * back_projected[..., :2]
        return torch.cat((blended, predicted[..., 2:]), dim=-1)


def back_project(keypoints: Tensor, predicted: Tensor, root_depth: Tensor, intrinsics: Tensor, root: int) -> Tensor:
    """Move the joints to the rays of their keypoints, at the predicted depth; lens distortion is ignored.

    Args:
        keypoints: [B, J, 2] screen coordinates of the middle frame.
        predicted: [B, J, 3], root-relative; only z is used.
        root_depth: [B], true distance of the root joint along the optical axis, in the unit of `predicted`.
        intrinsics: [B, 9], fx, fy, cx, cy, ... in screen coordinates.
        root: index of the root joint.
    Returns:
        [B, J, 3], relative to the root, whose row is zero.
    """
    relative_depth = predicted[..., 2].clone()
    relative_depth[:, root] = 0
    depth = (relative_depth + root_depth.unsqueeze(-1)).unsqueeze(-1)  # [B, J, 1]
    focal, centre = intrinsics[:, None, 0:2], intrinsics[:, None, 2:4]
    points = torch.cat(((keypoints - centre) * depth / focal, depth), dim=-1)
    return points - points[:, root : root + 1]
