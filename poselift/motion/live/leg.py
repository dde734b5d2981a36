"""Moving and bending a leg of one frame: as `foot_locking`, in numbers of Python, ten times as fast as arrays."""

import math

from poselift.motion.foot_locking import FARTHEST_JOINT_M, HALF_BENT_M, MOST_TRIES, STRAIGHT_M

Vector = list[float]


def bend_leg(hip: Vector, knee: Vector, ankle: Vector, shift: Vector) -> tuple[Vector, Vector]:
    """Move an ankle by bending hip and knee, as far as the leg reaches; as `bend_legs`.

    Args:
        hip, knee, ankle: metres.
        shift: of the ankle; shortened where a joint would move too far.
    Returns:
        The knee and the ankle.
    """
    shift = limited_vector(_bendable(hip, knee, ankle, shift), FARTHEST_JOINT_M)
    for turn in range(MOST_TRIES + 1):
        new_knee, new_ankle = _reach(hip, knee, ankle, add(ankle, shift))
        moved = math.dist(new_knee, knee)
        if moved <= FARTHEST_JOINT_M:
            return new_knee, new_ankle
        if turn < MOST_TRIES:  # a leg that is nearly straight bends far for a little
            shift = scaled(shift, (0.9 * FARTHEST_JOINT_M / moved) ** 2)
    return knee, ankle


def _bendable(hip: Vector, knee: Vector, ankle: Vector, shift: Vector) -> Vector:
    """As `foot_locking` has it."""
    leg, thigh = minus(ankle, hip), minus(knee, hip)
    reach = max(math.hypot(*leg), 1e-9)
    out = math.hypot(*minus(thigh, scaled(leg, dot(thigh, leg) / reach**2)))
    share = (out / (out + HALF_BENT_M)) ** 2
    target = add(leg, shift)
    wanted = max(math.hypot(*target), 1e-9)
    return minus(scaled(target, (reach + share * (wanted - reach)) / wanted), leg)


def _reach(hip: Vector, knee: Vector, ankle: Vector, target: Vector) -> tuple[Vector, Vector]:
    """As `two_bone_ik`."""
    thigh, shank, reach = math.dist(knee, hip), math.dist(ankle, knee), max(math.dist(target, hip), 1e-9)
    far = min(max(reach, abs(thigh - shank) + 1e-9), thigh + shank)
    axis = scaled(minus(target, hip), 1 / reach)
    along = (thigh**2 - shank**2 + far**2) / (2 * far)
    out = math.sqrt(max(thigh**2 - along**2, 0.0))
    bent = minus(knee, hip)
    pole = minus(bent, scaled(axis, dot(bent, axis)))
    if math.hypot(*pole) <= STRAIGHT_M:
        pole = minus([0.0, 0.0, 1.0], scaled(axis, axis[2]))
    pole = scaled(pole, out / max(math.hypot(*pole), 1e-9))
    return add(add(hip, scaled(axis, along)), pole), add(hip, scaled(axis, far))


def settle(offset: Vector, speed: Vector, rate: float, step_s: float) -> tuple[Vector, Vector]:
    """Bring an offset to nothing, beginning with the speed that it has: a critically damped spring.

    Args:
        rate: per second; three times its inverse leave a fifth.
    Returns:
        The offset and its speed after the time.
    """
    left, pull = math.exp(-rate * step_s), add(speed, scaled(offset, rate))
    moved = scaled(add(offset, scaled(pull, step_s)), left)
    return moved, minus(scaled(pull, left), scaled(moved, rate))


def limited_vector(vector: Vector, farthest_m: float) -> Vector:
    """As `limited`, of one vector."""
    squares = dot(vector, vector) / farthest_m**2
    return scaled(vector, (1 + squares * squares) ** -0.25)


def add(a: Vector, b: Vector) -> Vector:
    (ax, ay, az), (bx, by, bz) = a, b
    return [ax + bx, ay + by, az + bz]


def minus(a: Vector, b: Vector) -> Vector:
    (ax, ay, az), (bx, by, bz) = a, b
    return [ax - bx, ay - by, az - bz]


def dot(a: Vector, b: Vector) -> float:
    (ax, ay, az), (bx, by, bz) = a, b
    return ax * bx + ay * by + az * bz


def scaled(vector: Vector, factor: float) -> Vector:
    x, y, z = vector
    return [x * factor, y * factor, z * factor]
