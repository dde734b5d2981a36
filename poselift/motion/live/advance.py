"""Motion in the world of a live stream: as `to_world`, from past frames alone, with a small state between two calls.

What differs from a finished clip, whatever the lookahead of the poses:
- the path is filtered, not smoothed, so it follows turns a little late;
- bones are running means, not medians of the clip: they settle within the first seconds;
- gravity, unless given, facing and the floor come from the first second. Until then each answer uses what is known so
  far, and `settled` is False; then they stay;
- contacts, locked feet and the twist of straight limbs know the past only; the first two start anew when the world
  settles.
With the same bones and gravity, poses relative to the pelvis equal those of the clip.

The state does not depend on how frames were grouped into calls.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.motion.angles import joint_angles
from poselift.motion.bones import follow_bones, stature
from poselift.motion.gravity import gather
from poselift.motion.live.feet import FeetState, advance_feet, no_feet
from poselift.motion.live.root import follow_root
from poselift.motion.placement import ANKLE_HEIGHT, Placement, place, turn_rotations, turn_up_axis
from poselift.motion.root_path import places_of
from poselift.motion.rotations import RotationState, next_rotations
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
_FIXED = struct.Struct("<BqddHH??")
_FORMAT = 2
_FIRST = 58  # numbers of a row of `LiveState.first`
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


@dataclass(frozen=True)
class LiveState:
    """What a stream remembers; a few kilobytes.

    Attributes:
        frames: how many there were.
        start_s, time_s: of the first and of the newest frame.
        mean: [3, 2] filtered ray and logarithm of the distance, as in `RootFixes`, and their change per second.
        covariance: [3, 3] of each: variance of the value, covariance, variance of the change.
        bones: [17] metres as the network has them; weights: [17] how much they rest on.
        settled: whether the world stays.
        rotation, shift: the `Placement` in the world.
        gravity: [4] direction of falling and uncertainty in degrees.
        first: [N, 58] poses, places and what the network tells of gravity (NaN if it does not) in the first second,
            until the world has settled; each a float32 number.
        feet: contacts and locked feet.
        rig: what rotations follow; None before the first, and where they are not asked for.
    """

    frames: int
    start_s: float
    time_s: float
    mean: Floats
    covariance: Floats
    bones: Floats
    weights: Floats
    settled: bool
    rotation: Floats
    shift: Floats
    gravity: Floats
    first: Floats
    feet: FeetState
    rig: RotationState | None = None

    @staticmethod
    def start() -> "LiveState":
        """No frames yet."""
        zeros = np.zeros
        return LiveState(
            frames=0,
            start_s=0.0,
            time_s=0.0,
            mean=zeros((3, 2)),
            covariance=np.full((3, 3), np.inf),
            bones=zeros(17),
            weights=zeros(17),
            settled=False,
            rotation=np.eye(3),
            shift=zeros(3),
            gravity=zeros(4),
            first=zeros((0, _FIRST)),
            feet=no_feet(),
        )

    def to_bytes(self) -> bytes:
        """For keeping between two calls; inverse: `from_bytes`."""
        feet, rig = self.feet, self.rig
        head = _FIXED.pack(
            _FORMAT,
            self.frames,
            self.start_s,
            self.time_s,
            len(self.first),
            len(feet.times_s),
            self.settled,
            rig is not None,
        )
        parts: list[NDArray[np.generic]] = [self.mean, self.covariance, self.bones, self.weights, self.rotation]
        parts += [
            self.shift,
            self.gravity,
            feet.odds,
            feet.held,
            feet.anchors,
            feet.root,
            feet.legs,
            *(rig or ()),
            feet.times_s,
        ]
        numbers = np.concatenate([part.ravel() for part in parts], dtype=np.float64)
        history = np.concatenate([self.first.ravel(), feet.recent.ravel()])
        return head + numbers.astype("<f8").tobytes() + history.astype("<f4").tobytes()

    @staticmethod
    def from_bytes(kept: bytes) -> "LiveState":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it is of another format.
        """
        if not kept or kept[0] != _FORMAT:
            raise ValueError(f"The state of motion in the world has the format {kept[:1].hex()}, not {_FORMAT:02x}.")
        _, frames, start_s, time_s, n_first, n_recent, settled, has_rig = _FIXED.unpack_from(kept)
        n_numbers = 84 + 78 * has_rig + n_recent
        numbers = np.frombuffer(kept, "<f8", n_numbers, _FIXED.size).astype(np.float64)
        history = np.frombuffer(kept, "<f4", offset=_FIXED.size + 8 * n_numbers).astype(np.float64)
        sizes = np.cumsum([6, 9, 17, 17, 9, 3, 4, 2, 2, 6, 3, 6, *(5, 5, 68) * has_rig])
        mean, covariance, bones, weights, rotation, shift, gravity, *steps, times_s = np.split(numbers, sizes)
        odds, held, anchors, root, legs, *rig = steps
        return LiveState(
            frames=frames,
            start_s=start_s,
            time_s=time_s,
            mean=mean.reshape(3, 2),
            covariance=covariance.reshape(3, 3),
            bones=bones,
            weights=weights,
            settled=settled,
            rotation=rotation.reshape(3, 3),
            shift=shift,
            gravity=gravity,
            first=history[: _FIRST * n_first].reshape(-1, _FIRST),
            feet=FeetState(
                history[_FIRST * n_first :].reshape(-1, 3, 3),
                times_s,
                odds,
                held.astype(np.bool_),
                anchors.reshape(2, 3),
                root,
                legs.reshape(2, 3),
            ),
            rig=RotationState(rig[0], rig[1], rig[2].reshape(17, 4)) if rig else None,
        )


def advance(
    state: LiveState,
    poses: NDArray[np.floating],
    expected_error_m: NDArray[np.floating] | None,
    sequence: Sequence,
    camera: Camera = UNKNOWN_CAMERA,
    person: Person = UNKNOWN_PERSON,
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
    lens = lens_of(camera, sequence)
    rays = rays_of(undistort(sequence, camera), lens)
    error_m = errors_of(expected_error_m, poses.shape[:2])
    told = np.full((len(poses), 4), np.nan) if network_gravity is None else network_gravity
    placed, before_s = [], state.time_s
    for row, time_s in enumerate(sequence.times_s.tolist()):
        state, sized, place_m = _follow(state, poses[row], rays[row], error_m[row], time_s, person)
        if not state.settled:
            state = _settle(state, np.concatenate([sized.ravel(), place_m, told[row]]), camera, _height(state, person))
        world = Placement(state.rotation, state.shift).place(sized + place_m)
        ankle_m = ANKLE_HEIGHT * _height(state, person)
        feet, contacts, shown = advance_feet(state.feet, world, time_s, options.foot_lock, ankle_m)
        state = replace(state, feet=feet)
        placed.append((shown, contacts))
    world = np.stack([pose for pose, _ in placed])
    steps_s = np.diff(sequence.times_s, prepend=before_s)
    state, rotations, angles = _rig(state, world, np.clip(steps_s, _SHORTEST_STEP_S, _LONGEST_STEP_S), options)
    world = turn_up_axis(world) if options.up_axis == "z" else world
    scale = _scale(state, person)
    return state, WorldMotion(
        poses=world,
        root=world[:, 0],
        contacts=np.stack([contacts for _, contacts in placed]),
        scale=scale,
        height_m=_height(state, person),
        gravity=Gravity(state.gravity[:3], float(state.gravity[3]), given=camera.gravity is not None),
        focal_px=lens.focal_px,
        focal_given=lens.given,
        bones=state.bones * scale,
        up_axis=options.up_axis,
        rotations=rotations,
        angles=angles,
    )


def _rig(
    state: LiveState, world: Floats, steps_s: Floats, options: WorldOptions
) -> tuple[LiveState, Floats | None, dict[str, Floats] | None]:
    """Rotations and angles of the next poses [F, 17, 3], if they are asked for; `steps_s` [F] since the pose before."""
    if not (options.rotations or options.angles):
        return state, None, None
    rotations, rig = next_rotations(world, state.rig, 1 / steps_s)
    angles = joint_angles(world, rotations) if options.angles else None
    if options.up_axis == "z":
        rotations = turn_rotations(rotations)
    return replace(state, rig=rig), rotations if options.rotations else None, angles


def _follow(
    state: LiveState, pose: NDArray[np.floating], rays: Floats, error_m: Floats, time_s: float, person: Person
) -> tuple[LiveState, Floats, Floats]:
    """Take one frame [17, ...]; the pose [17, 3] in its size, and the place [3] of the pelvis before the camera."""
    vectors = pose.astype(np.float64) - pose[_PARENTS]
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    variance = error_m * error_m
    weight = 1 / (variance + variance[_PARENTS])
    bones, weights = follow_bones(state.bones if state.frames else lengths, state.weights, lengths, weight)
    scale = 1.0 if person.height_m is None else person.height_m / stature(bones)
    sized = _CHAINS @ (vectors * (bones * scale / np.maximum(lengths, 1e-9))[:, None])
    mean, covariance = follow_root(
        state.mean, state.covariance, time_s - state.time_s, sized, rays, error_m * scale if scale != 1 else error_m
    )
    state = replace(
        state,
        frames=state.frames + 1,
        start_s=state.start_s if state.frames else time_s,
        time_s=time_s,
        mean=mean,
        covariance=covariance,
        bones=bones,
        weights=weights,
    )
    return state, sized, places_of(mean[:, 0])


def _settle(state: LiveState, seen: Floats, camera: Camera, height_m: float) -> LiveState:
    """Look for the world in the frames so far; of the newest, `seen` is a row of `first`."""
    elapsed_s, first = state.time_s - state.start_s, state.first
    settled = elapsed_s >= SETTLING_S
    if is_new := elapsed_s >= len(first) * _APART_S - 1e-6:
        first = np.concatenate([first, seen[None].astype(np.float32).astype(np.float64)])
    count = len(first)
    if not (
        settled or (is_new and count & (count - 1) == 0)
    ):  # looking costs milliseconds: after 1, 2, 4, 8 ... frames
        return replace(state, first=first)
    poses, path, told = first[:, :51].reshape(-1, 17, 3), first[:, 51:54], first[:, 54:]
    times_s = np.arange(count, dtype=np.float64) * _APART_S
    hint = None if np.isnan(told).any() else gather(told[:, :3], told[:, 3], times_s)
    gravity = find_gravity(poses, path, times_s, camera, hint)
    placement = place(poses, path, np.asarray(gravity.direction), height_m)
    return replace(
        state,
        settled=settled,
        rotation=placement.rotation,
        shift=placement.shift,
        gravity=np.append(gravity.direction, gravity.uncertainty_deg),
        first=first[:0] if settled else first,
        feet=no_feet(),
    )


def _scale(state: LiveState, person: Person) -> float:
    return 1.0 if person.height_m is None else person.height_m / max(stature(state.bones), _SMALLEST_M)


def _height(state: LiveState, person: Person) -> float:
    return stature(state.bones) * _scale(state, person)
