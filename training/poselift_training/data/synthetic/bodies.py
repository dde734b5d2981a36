"""Makes other people of recorded ones: other proportions, and limbs that move as those of somebody else.

Letters: B windows, T frames of each; people are [B, T, 17, 3] Human3.6M joints in the world, metres, z up.
"""

from collections.abc import Callable

import torch

from poselift.lifters.constants import indices, numbers
from poselift.skeletons import skeleton
from poselift_training.data.synthetic.draws import uniform

_H36M = skeleton("h36m17")
_JOINT = {name: index for index, name in enumerate(_H36M.joint_names)}
_PELVIS = _JOINT["pelvis"]
_PARENTS = [max(parent, 0) for parent in _H36M.parents]

# Bones that are long or short together, by the joint they end in.
_PARTS = {
    "legs": ("left_knee", "left_ankle", "right_knee", "right_ankle"),
    "hips": ("left_hip", "right_hip"),
    "trunk": ("spine", "thorax"),
    "head": ("neck_nose", "head"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "arms": ("left_elbow", "left_wrist", "right_elbow", "right_wrist"),
}
# A child of s times an adult's stature has parts of s ** (1 + exponent) times an adult's: short legs, a large head.
_GROWTH = {"legs": 0.23, "hips": 0.1, "trunk": -0.05, "head": -0.7, "shoulders": 0.05, "arms": 0.1}
# Counted from 1; 0 is that of the pelvis, which ends no bone.
_PART_OF_JOINT = [
    next((number for number, joints in enumerate(_PARTS.values(), 1) if name in joints), 0)
    for name in _H36M.joint_names
]
_SMALLEST_CHILD = 0.55
_LARGEST_CHILD = 0.9

# What is taken from somebody else together, and whether it keeps its attitude to the pelvis or to the chest.
_ARMS = (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"))
_LEGS = (("left_knee", "left_ankle"), ("right_knee", "right_ankle"))
_UPPER_BODY = tuple(_H36M.joint_names[_JOINT["spine"] :])
_TAKEN_TOGETHER = (
    *((joints, "chest") for joints in (*_ARMS, (*_ARMS[0], *_ARMS[1]))),
    *((joints, "pelvis") for joints in (*_LEGS, _UPPER_BODY)),
)


def scale_bones(people: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Change the lengths of the bones of people by factors [B, 1, 17, 1]; directions stay."""
    return with_bones(people, factors * bones_of(people))


def draw_proportions(people: torch.Tensor, spread: float, children: float, generator: torch.Generator) -> torch.Tensor:
    """Give people other proportions: parts of the body longer or shorter as a whole, left and right alike.

    The way of the pelvis is scaled with the legs, so that feet stay about where the floor is and do not slide.

    Args:
        spread: largest change of a part, as a share.
        children: share of the windows whose person becomes a child, small and with the proportions of one.
    """
    windows, device = len(people), people.device
    each = (windows, 1, 1, 1)
    stature = uniform(each, _SMALLEST_CHILD, _LARGEST_CHILD, generator, device)
    stature = stature.masked_fill(torch.rand(each, generator=generator, device=device) >= children, 1.0)
    parts = [
        uniform(each, 1 - spread, 1 + spread, generator, device) * stature ** (1 + _GROWTH[part]) for part in _PARTS
    ]
    factors = torch.cat([torch.ones(each, device=device), *parts], dim=2)[:, :, indices(_PART_OF_JOINT, device)]
    legs = factors[:, :, _JOINT["left_knee"], None]
    scaled = scale_bones(people, factors)
    return scaled + (legs - 1) * people[:, :, _PELVIS, None]


def compose(people: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Move limbs, both arms or the whole upper body of a share of the people as those of somebody else in the batch.

    What is taken keeps its attitude to the other's chest or pelvis and takes the lengths of one's own bones.
    """
    windows, device = len(people), people.device
    choice = torch.randint(len(_TAKEN_TOGETHER), (windows,), generator=generator, device=device)
    composed = torch.rand(windows, generator=generator, device=device) < share
    taken, from_chest = (table[choice] > 0 for table in (_taken(device), indices(_FROM_CHEST, device)))
    own = bones_of(people)
    turn = torch.where(from_chest[:, None, None, None], _turn(own, _chest_axes), _turn(own, _pelvis_axes))
    turned = own.roll(1, dims=0) @ turn.transpose(-1, -2)
    length = torch.linalg.vector_norm(own, dim=-1, keepdim=True)
    turned = length * torch.nn.functional.normalize(turned, dim=-1)
    is_taken = taken & composed[:, None]
    return with_bones(people, torch.where(is_taken[:, None, :, None], turned, own))


def bones_of(people: torch.Tensor) -> torch.Tensor:
    """The bone that ends in each joint, as a vector from its parent [B, T, 17, 3]; zero for the pelvis."""
    return people - people[:, :, indices(_PARENTS, people.device)]


def with_bones(people: torch.Tensor, bones: torch.Tensor) -> torch.Tensor:
    """People whose pelvis stays where it is, with other bones, as `bones_of` gives them."""
    return people[:, :, _PELVIS, None] + _bone_chains(people.device) @ bones


def _turn(bones: torch.Tensor, axes_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Rotations [B, T, 3, 3] from the axes of the person of the window before to one's own."""
    axes = axes_of(bones)
    return axes @ axes.roll(1, dims=0).transpose(-1, -2)


def _pelvis_axes(bones: torch.Tensor) -> torch.Tensor:
    return _axes(bones[:, :, _JOINT["left_hip"]] - bones[:, :, _JOINT["right_hip"]], bones[:, :, _JOINT["spine"]])


def _chest_axes(bones: torch.Tensor) -> torch.Tensor:
    shoulders = bones[:, :, _JOINT["left_shoulder"]] - bones[:, :, _JOINT["right_shoulder"]]
    return _axes(shoulders, bones[:, :, _JOINT["thorax"]])


def _axes(left: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Orthonormal axes [..., 3, 3], as columns, out of the direction to the left and roughly that upwards [..., 3]."""
    left = torch.nn.functional.normalize(left, dim=-1)
    ahead = torch.nn.functional.normalize(torch.linalg.cross(left, up), dim=-1)
    return torch.stack([left, torch.linalg.cross(ahead, left), ahead], dim=-1)


def _bone_chains(device: torch.device) -> torch.Tensor:
    """[17, 17] float32: 1 where the bone that ends in the second joint is on the way from the root to the first."""
    return numbers(_ON_THE_WAY, device).view(_H36M.n_joints, -1)


def _taken(device: torch.device) -> torch.Tensor:
    """[G, 17] int64: 1 for the bones that are taken together."""
    return indices(_TAKEN, device).view(-1, _H36M.n_joints)


def _way_to(joint: int) -> set[int]:
    parent = _H36M.parents[joint]
    return set() if parent < 0 else {joint} | _way_to(parent)


_ON_THE_WAY = [bone in _way_to(joint) for joint in range(_H36M.n_joints) for bone in range(_H36M.n_joints)]
_TAKEN = [name in joints for joints, _ in _TAKEN_TOGETHER for name in _H36M.joint_names]
_FROM_CHEST = [part == "chest" for _, part in _TAKEN_TOGETHER]
