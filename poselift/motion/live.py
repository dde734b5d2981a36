"""Motion in the world of a live stream: as `to_world`, from past frames alone, with a small state between two calls.

What differs from a finished clip, whatever the lookahead of the poses:
- the path is filtered, not smoothed, so it follows turns a little late;
- bones are running means, not medians of the clip: they settle within the first seconds;
- gravity, unless given, facing and the floor come from the first second. Until then each answer uses what is known so
  far, and `settled` is False; then they stay;
- contacts and locked feet know the past only, and start anew when the world settles.
With the same bones and gravity, poses relative to the pelvis equal those of the clip.

The state does not depend on how frames were grouped into calls.
"""

import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poselift.camera import UNKNOWN_CAMERA, UNKNOWN_PERSON, Camera, Person
from poselift.motion.bones import follow_bones, stature
from poselift.motion.live_feet import FeetState, advance_feet, no_feet
from poselift.motion.live_root import follow_root
from poselift.motion.placement import ANKLE_HEIGHT, Placement, place, turn_up_axis
from poselift.motion.root_path import places_of
from poselift.motion.to_world import errors_of, find_gravity, lens_of, rays_of, rig_of
from poselift.motion.undistort import undistort
from poselift.motion.world import DEFAULT_OPTIONS, Gravity, WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import skeleton

Floats = NDArray[np.float64]

_PARENTS = np.maximum(np.array(skeleton("h36m17").parents), 0)
# Gravity, facing and the floor are looked for so long, in frames that are so far apart.
SETTLING_S, _APART_S = 1.0, 0.04
_FIXED = struct.Struct("<Bqddd?")
_FORMAT = 1


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
        first: [N, 54] poses and places of the first second, until the world has settled.
        feet: contacts and locked feet.
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
            first=zeros((0, 54)),
            feet=no_feet(),
        )

    def to_bytes(self) -> bytes:
        """For keeping between two calls; inverse: `from_bytes`."""
        head = _FIXED.pack(_FORMAT, self.frames, self.start_s, self.time_s, float(len(self.first)), self.settled)
        parts = (self.mean, self.covariance, self.bones, self.weights, self.rotation, self.shift, self.gravity)
        feet = self.feet
        steps = (feet.odds, feet.held, feet.anchors, feet.root, feet.legs, feet.times_s, feet.recent)
        numbers = np.concatenate([part.ravel() for part in (*parts, self.first, *steps)], dtype=np.float64)
        return head + numbers.astype("<f8").tobytes()

    @staticmethod
    def from_bytes(kept: bytes) -> "LiveState":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: it is of another format.
        """
        form, frames, start_s, time_s, n_first, settled = _FIXED.unpack_from(kept)
        if form != _FORMAT:
            raise ValueError(f"The state of motion in the world has the format {form}, not {_FORMAT}.")
        numbers = np.frombuffer(kept, "<f8", offset=_FIXED.size).astype(np.float64)
        sizes = np.cumsum([6, 9, 17, 17, 9, 3, 4, int(n_first) * 54, 2, 2, 6, 3, 6])
        mean, covariance, bones, weights, rotation, shift, gravity, first, *feet, recent = np.split(numbers, sizes)
        odds, held, anchors, root, legs = feet
        times_s, recent = np.split(recent, [len(recent) // 10])  # a time and three joints per frame
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
            first=first.reshape(-1, 54),
            feet=FeetState(
                recent.reshape(-1, 3, 3),
                times_s,
                odds,
                held.astype(np.bool_),
                anchors.reshape(2, 3),
                root,
                legs.reshape(2, 3),
            ),
        )


def advance(
    state: LiveState,
    poses: NDArray[np.floating],
    expected_error_m: NDArray[np.floating] | None,
    sequence: Sequence,
    camera: Camera = UNKNOWN_CAMERA,
    person: Person = UNKNOWN_PERSON,
    options: WorldOptions = DEFAULT_OPTIONS,
    gravity_hint: Gravity | None = None,
) -> tuple[LiveState, WorldMotion]:
    """Place the next poses of a stream in the world.

    Args:
        poses, expected_error_m, sequence: as in `to_world`, of the new poses alone, at least one, in order.
        gravity_hint: the network's newest estimate.
    Returns:
        The state for the next call, and the motion of the new poses; its scale, bones and gravity are those of the
        last of them.
    """
    lens = lens_of(camera, sequence)
    rays = rays_of(undistort(sequence, camera), lens)
    error_m = errors_of(expected_error_m, poses.shape[:2])
    placed = []
    for row, time_s in enumerate(sequence.times_s.tolist()):
        state, sized, place_m = _follow(state, poses[row], rays[row], error_m[row], time_s, person)
        if not state.settled:
            state = _settle(state, sized, place_m, camera, gravity_hint, _height(state, person))
        world = Placement(state.rotation, state.shift).place(sized + place_m)
        ankle_m = ANKLE_HEIGHT * _height(state, person)
        feet, contacts, shown = advance_feet(state.feet, world, time_s, options.foot_lock, ankle_m)
        state = replace(state, feet=feet)
        placed.append((shown, contacts))
    return state, _motion(state, placed, sequence.times_s, lens.focal_px, lens.given, camera, person, options)


def _motion(
    state: LiveState,
    placed: list[tuple[Floats, Floats]],
    times_s: Floats,
    focal_px: float,
    focal_given: bool,
    camera: Camera,
    person: Person,
    options: WorldOptions,
) -> WorldMotion:
    world = np.stack([pose for pose, _ in placed])
    rotations, angles = rig_of(world, times_s, options)
    world = turn_up_axis(world) if options.up_axis == "z" else world
    scale = _scale(state, person)
    return WorldMotion(
        poses=world,
        root=world[:, 0],
        contacts=np.stack([contacts for _, contacts in placed]),
        scale=scale,
        height_m=_height(state, person),
        gravity=Gravity(state.gravity[:3], float(state.gravity[3]), given=camera.gravity is not None),
        focal_px=focal_px,
        focal_given=focal_given,
        bones=state.bones * scale,
        up_axis=options.up_axis,
        rotations=rotations,
        angles=angles,
    )


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


def _settle(
    state: LiveState, pose: Floats, place_m: Floats, camera: Camera, hint: Gravity | None, height_m: float
) -> LiveState:
    """Look for the world in the frames so far."""
    elapsed_s, first = state.time_s - state.start_s, state.first
    settled = elapsed_s >= SETTLING_S
    if is_new := elapsed_s >= len(first) * _APART_S - 1e-6:
        first = np.concatenate([first, np.concatenate([pose.ravel(), place_m])[None]])
    count = len(first)
    if not (
        settled or (is_new and count & (count - 1) == 0)
    ):  # looking costs milliseconds: after 1, 2, 4, 8 ... frames
        return replace(state, first=first)
    poses, path = first[:, :51].reshape(-1, 17, 3), first[:, 51:]
    times_s = np.arange(count, dtype=np.float64) * _APART_S
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
    return 1.0 if person.height_m is None else person.height_m / stature(state.bones)


def _height(state: LiveState, person: Person) -> float:
    return stature(state.bones) * _scale(state, person)
