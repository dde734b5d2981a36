"""Motion in the world of a live stream: as `to_world`, from past frames alone, with a small state between two calls.

What differs from a finished clip, whatever the lookahead of the poses:
- the path is filtered, not smoothed, so it follows turns a little late;
- bones are running means, not medians of the clip: they settle within the first seconds;
- gravity, unless given, facing and the floor come from the first second in which the person is in view. Until then each
  answer uses what is known so far, and `settled` is False; then they stay;
- contacts, locked feet and the twist of straight limbs know the past only; the first two start anew when the world
  settles.
With the same bones and gravity, poses relative to the pelvis equal those of the clip.

The state does not depend on how frames were grouped into calls.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera, Person
from poselift.motion.angles import joint_angles
from poselift.motion.bones import follow_bones, stature
from poselift.motion.gravity import gather
from poselift.motion.live.feet import NO_FEET, advance_feet
from poselift.motion.live.root import follow_root, place_of
from poselift.motion.live.state import LiveState
from poselift.motion.placement import ANKLE_HEIGHT, Placement, place, turn_rotations, turn_up_axis
from poselift.motion.root_path import is_in_view
from poselift.motion.rotations import next_rotations
from poselift.motion.to_world import errors_of, find_gravity, lens_of, rays_of
from poselift.motion.world import DEFAULT_OPTIONS, Gravity, WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import skeleton
from poselift.undistort import undistort

Floats = NDArray[np.float64]

_PARENTS = np.maximum(np.array(skeleton("h36m17").parents), 0)
# Gravity, facing and the floor are looked for so long, in frames that are so far apart.
SETTLING_S, _APART_S = 1.0, 0.04
_SHORTEST_STEP_S, _LONGEST_STEP_S = 1e-4, 2.0
# Of gravity, by a network that does not estimate it.
_NOT_TOLD = np.full(4, np.nan)
# What bones are at least, so that poses without any size have a stature.
_SMALLEST_M = 1e-3


def _bone_chains() -> Floats:
    """[17, 17]: 1 where the bone that ends in the second joint is on the way from the pelvis to the first."""
    chains = np.zeros((17, 17))
    for joint in range(1, 17):
        chains[joint] = chains[_PARENTS[joint]]
        chains[joint, joint] = 1
    return chains


_CHAINS = _bone_chains()


def advance(
    state: LiveState,
    poses: NDArray[np.floating],
    expected_error_m: NDArray[np.floating] | None,
    sequence: Sequence,
    options: WorldOptions = DEFAULT_OPTIONS,
    network_gravity: NDArray[np.floating] | None = None,
) -> tuple[LiveState, WorldMotion]:
    """Place the next poses of a stream in the world.

    Args:
        poses, expected_error_m, sequence: as in `to_world`, of the new poses alone, at least one, in order.
        network_gravity: [F, 4] the direction of falling as the network estimates it, and its error in radians; None if
            it does not.
    Returns:
        The state for the next call, and the motion of the new poses; its scale, bones and gravity are those of the
        last of them.
    """
    camera, person = sequence.camera, sequence.person
    lens = lens_of(sequence)
    rays = rays_of(undistort(sequence), lens)
    error_m = errors_of(expected_error_m, poses.shape[:2])
    before_s, times_s = state.time_s, sequence.times_s
    world, contacts = np.empty(poses.shape), np.empty((len(poses), 2))
    for row, time_s in enumerate(times_s.tolist()):
        in_view = bool(is_in_view(rays[row]))
        state, sized, size = _follow(state, poses[row], rays[row], error_m[row], time_s, person, in_view=in_view)
        place_m = place_of(state.root)
        # Until somebody has been in view, the first pose must do.
        if not state.settled and (in_view or not state.gravity.any()):
            told = _NOT_TOLD if network_gravity is None else network_gravity[row]
            seen = np.concatenate([sized.ravel(), place_m, told]).astype(np.float32).astype(np.float64)
            state = (_settle if in_view else _placed)(state, seen[None], camera, size.height_m)
        pose = Placement(state.rotation, state.shift).place(sized + place_m)
        ankle_m = ANKLE_HEIGHT * size.height_m
        feet, contacts[row], world[row] = advance_feet(state.feet, pose, time_s, options.foot_lock, ankle_m)
        state = state._replace(feet=feet)
    state, rotations, angles = _rig(state, world, times_s, before_s, options)
    world = turn_up_axis(world) if options.up_axis == "z" else world
    return state, WorldMotion(
        poses=world,
        root=world[:, 0],
        contacts=contacts,
        scale=size.scale,
        height_m=size.height_m,
        gravity=Gravity(state.gravity[:3], float(state.gravity[3]), given=camera.gravity is not None),
        focal_px=lens.focal_px,
        focal_given=lens.given,
        bones=state.bones * size.scale,
        up_axis=options.up_axis,
        rotations=rotations,
        angles=angles,
    )


def _rig(
    state: LiveState, world: Floats, times_s: Floats, before_s: float, options: WorldOptions
) -> tuple[LiveState, Floats | None, dict[str, Floats] | None]:
    """Rotations and angles of the next poses [F, 17, 3], if they are asked for; `before_s` of the pose before them."""
    if not (options.rotations or options.angles):
        return state, None, None
    steps_s = np.clip(np.diff(times_s, prepend=before_s), _SHORTEST_STEP_S, _LONGEST_STEP_S)
    rotations, rig = next_rotations(world, state.rig, 1 / steps_s)
    angles = joint_angles(world, rotations) if options.angles else None
    if options.up_axis == "z":
        rotations = turn_rotations(rotations)
    return state._replace(rig=rig), rotations if options.rotations else None, angles


class _Size(NamedTuple):
    """How large somebody is, and the factor from the network's metres to these."""

    height_m: float
    scale: float


def _size(bones: Floats, person: Person) -> _Size:
    lifted_m = stature(bones)
    if person.height_m is None:
        return _Size(lifted_m, 1.0)
    return _Size(person.height_m, person.height_m / max(lifted_m, _SMALLEST_M))


def _follow(
    state: LiveState,
    pose: NDArray[np.floating],
    rays: Floats,
    error_m: Floats,
    time_s: float,
    person: Person,
    *,
    in_view: bool,
) -> tuple[LiveState, Floats, _Size]:
    """Take one frame [17, ...]; the pose [17, 3] in its size."""
    vectors = pose.astype(np.float64) - pose.take(_PARENTS, 0)
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    variance = error_m * error_m
    weight = 1 / (variance + variance.take(_PARENTS))
    was_in_view = bool(state.weights.any())
    bones, weights = state.bones if was_in_view else lengths, state.weights
    if in_view:
        bones, weights = follow_bones(bones, weights, lengths, weight)
    size = _size(bones, person)
    sized = _CHAINS.dot(vectors * (bones * size.scale / np.maximum(lengths, 1e-9))[:, None])
    root = follow_root(state.root, time_s - state.time_s, sized, rays, error_m * size.scale)
    unseen_s = 0.0 if in_view else time_s - state.time_s
    state = state._replace(
        frames=state.frames + 1,
        start_s=state.start_s + unseen_s if was_in_view else time_s,
        time_s=time_s,
        root=root,
        bones=bones,
        weights=weights,
    )
    return state, sized, size


def _settle(state: LiveState, newest: Floats, camera: Camera, height_m: float) -> LiveState:
    """Look for the world in the frames so far; `newest` [1, 58] is the row of the newest for `first`."""
    elapsed_s, first = state.time_s - state.start_s, state.first
    settled = elapsed_s >= SETTLING_S
    if is_new := elapsed_s >= len(first) * _APART_S - 1e-6:
        first = np.concatenate([first, newest])
    count = len(first)
    # Looking costs milliseconds: after 1, 2, 4, 8 ... frames.
    if not (settled or (is_new and count & (count - 1) == 0)):
        return state._replace(first=first)
    return _placed(state, first, camera, height_m)._replace(settled=settled, first=first[:0] if settled else first)


def _placed(state: LiveState, first: Floats, camera: Camera, height_m: float) -> LiveState:
    """The world that frames [N, 58], as in `LiveState.first`, tell of."""
    poses, path, told = first[:, :51].reshape(-1, 17, 3), first[:, 51:54], first[:, 54:]
    times_s = np.arange(len(first), dtype=np.float64) * _APART_S
    hint = None if np.isnan(told).any() else gather(told[:, :3], told[:, 3], times_s)
    gravity = find_gravity(poses, path, times_s, camera, hint)
    placement = place(poses, path, np.asarray(gravity.direction), height_m)
    return state._replace(
        rotation=placement.rotation,
        shift=placement.shift,
        gravity=np.append(gravity.direction, gravity.uncertainty_deg),
        feet=NO_FEET,
    )
