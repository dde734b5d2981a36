"""From poses before a camera to motion in the world: the one entry, for finished clips."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera
from poselift.motion.angles import joint_angles
from poselift.motion.bones import constant_bones, stature
from poselift.motion.contacts import foot_contacts
from poselift.motion.foot_locking import lock_feet
from poselift.motion.gravity import combine, estimate_gravity
from poselift.motion.placement import place, turn_rotations, turn_up_axis
from poselift.motion.root_path import is_in_view, locate, smooth_path
from poselift.motion.rotations import joint_rotations
from poselift.motion.world import DEFAULT_OPTIONS, Gravity, WorldMotion, WorldOptions
from poselift.sequence import Sequence
from poselift.skeletons import convert, skeleton
from poselift.undistort import principal_point, undistort

Floats = NDArray[np.float64]

H36M = skeleton("h36m17")
# Focal length of an unknown camera, in diagonals of the picture: that of usual phones and webcams.
USUAL_FOCAL = 0.63
# Keypoints that are less certain are not looked at.
_SCORE_THRESHOLD = 0.3
# Of a network that does not tell its errors.
_USUAL_ERROR_M = 0.05
# Expected errors add up with this, so that no joint counts for everything.
_LEAST_ERROR_M = 0.01


class Lens(NamedTuple):
    """The focal length and the principal point of a camera, pixels, and whether the former was given."""

    focal_px: float
    centre_px: Floats
    given: bool


class BeforeCamera(NamedTuple):
    """A person with constant bones, in camera axes.

    Attributes:
        scale: factor from the network's metres to these.
        poses: [F, 17, 3] metres, relative to the pelvis.
        bones: [17] metres.
        path: [F, 3] metres, the pelvis.
        in_view: [F] as `frames_in_view`.
    """

    lens: Lens
    scale: float
    poses: Floats
    bones: Floats
    path: Floats
    in_view: NDArray[np.bool_]


def to_world(
    poses: NDArray[np.floating],
    expected_error_m: NDArray[np.floating] | None,
    sequence: Sequence,
    options: WorldOptions = DEFAULT_OPTIONS,
    gravity_hint: Gravity | None = None,
) -> WorldMotion:
    """Place the poses of a clip in the world.

    Args:
        poses: [F, 17, 3] metres, camera axes, relative to the pelvis, as a lifter of Human3.6M's joints answers them.
        expected_error_m: [F, 17] of the joints; None if the network does not tell.
        sequence: the keypoints as they were detected, with distortion, one frame for each pose; and what is known of
            the camera and the person.
        gravity_hint: the network's estimate, used if the camera's gravity is not given.
    Raises:
        InvalidKeypoints: the distortion cannot be removed.
    """
    lens, scale, sized, bones, path, in_view = before_camera(poses, expected_error_m, sequence)
    # What a network answers where nobody is to be seen says nothing of the floor.
    seen, seen_path = sized[in_view], path[in_view]
    gravity = find_gravity(seen, seen_path, sequence.times_s[in_view], sequence.camera, gravity_hint)
    placement = place(seen, seen_path, np.asarray(gravity.direction), stature(bones))
    world = placement.place(sized + path[:, None])
    contacts = foot_contacts(world, sequence.times_s)
    world = lock_feet(world, contacts, sequence.times_s, options.foot_lock)
    world[..., ::2] -= world[in_view.argmax(), 0, ::2]
    rotations, angles = rig_of(world, sequence.times_s, options)
    world = turn_up_axis(world) if options.up_axis == "z" else world
    return WorldMotion(
        poses=world,
        root=world[:, 0],
        contacts=contacts,
        scale=scale,
        height_m=stature(bones),
        gravity=gravity,
        focal_px=lens.focal_px,
        focal_given=lens.given,
        bones=bones,
        up_axis=options.up_axis,
        rotations=rotations,
        angles=angles,
        network_gravity=gravity_hint,
    )


def before_camera(
    poses: NDArray[np.floating], expected_error_m: NDArray[np.floating] | None, sequence: Sequence
) -> BeforeCamera:
    """Give a person constant bones and their size, and find where they are, in camera axes; arguments as `to_world`."""
    lens, height_m = lens_of(sequence), sequence.person.height_m
    rays = rays_of(undistort(sequence), lens)
    error_m = errors_of(expected_error_m, poses.shape[:2])
    in_view = _in_view(rays)
    sized, bones = constant_bones(poses, in_view[:, None] / error_m**2)
    scale = 1.0 if height_m is None else height_m / stature(bones)
    sized *= scale
    path = smooth_path(sequence.times_s, locate(sized, rays, error_m * scale))
    return BeforeCamera(lens, scale, sized, bones * scale, path, in_view)


def frames_in_view(sequence: Sequence) -> NDArray[np.bool_]:
    """The frames [F] in which enough of the person is seen to tell where they are; all, if that is so in none."""
    return _in_view(rays_of(undistort(sequence), lens_of(sequence)))


def _in_view(rays: Floats) -> NDArray[np.bool_]:
    in_view = is_in_view(rays)
    return in_view if in_view.any() else np.ones_like(in_view)


def rig_of(poses: Floats, times_s: Floats, options: WorldOptions) -> tuple[Floats | None, dict[str, Floats] | None]:
    """Rotations and angles of poses [F, 17, 3] with y up, as far as the options ask for them, in their axes."""
    if not (options.rotations or options.angles):
        return None, None
    fps = 1 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    rotations = joint_rotations(poses, fps)
    angles = joint_angles(poses, rotations) if options.angles else None
    if options.up_axis == "z":
        rotations = turn_rotations(rotations)
    return rotations if options.rotations else None, angles


def lens_of(sequence: Sequence) -> Lens:
    """The lens that was given, or the usual one."""
    centre, focal_px = principal_point(sequence), sequence.camera.focal_px
    if focal_px is not None:
        return Lens(focal_px, centre, given=True)
    return Lens(USUAL_FOCAL * math.hypot(sequence.width_px, sequence.height_px), centre, given=False)


def rays_of(sequence: Sequence, lens: Lens) -> Floats:
    """Slopes [F, 17, 2] of the rays that the joints are seen along; NaN where a joint is missing or uncertain."""
    keypoints = sequence.keypoints
    if sequence.skeleton != H36M:
        keypoints = convert(keypoints, sequence.skeleton, H36M)
    rays = (keypoints[..., :2] - lens.centre_px) / lens.focal_px
    return np.where(keypoints[..., 2:] >= _SCORE_THRESHOLD, rays, np.nan)


def errors_of(expected_error_m: NDArray[np.floating] | None, shape: tuple[int, ...]) -> Floats:
    """Expected errors [F, 17] of joints, metres, none of them 0."""
    if expected_error_m is None:
        return np.full(shape, _USUAL_ERROR_M)
    return np.hypot(expected_error_m.astype(np.float64), _LEAST_ERROR_M)


def find_gravity(poses: Floats, path: Floats, times_s: Floats, camera: Camera, hint: Gravity | None) -> Gravity:
    """The direction of falling: given, or from the clip together with the network's estimate."""
    if camera.gravity is not None:
        direction = np.asarray(camera.gravity, np.float64)
        return Gravity(direction / np.linalg.norm(direction), 0.0, given=True)
    seen = estimate_gravity(poses, path, times_s)
    return seen if hint is None else combine(seen, hint)
