"""What is known of the camera and the person, as rows of a network's frame below its joints.

A network that takes them has K = 4 more rows, [..., J + K, 2]: (0, log of the focal length in screen coordinates), the
direction of falling in camera axes as (x, y) and (0, z), and (0, log of the stature over that of a usual adult). A row
is NaN where nothing is known. Mirrored as positions are, they are those of the mirrored picture.

A network that finds the direction of falling answers it as one more row below the joints of a pose, [..., J + 1, 3].
"""

import math

import numpy as np
from numpy.typing import NDArray

from poselift.camera import Camera, Person

KNOWN_ROWS = 4
USUAL_STATURE_M = 1.7


def known_rows(camera: Camera, person: Person, width_px: float) -> NDArray[np.float32]:
    """Rows [K, 2] of what a caller knows; `width_px` is the width of the picture."""
    rows = np.full((KNOWN_ROWS, 2), np.nan, np.float32)
    if camera.focal_px is not None:
        rows[0] = 0, math.log(2 * camera.focal_px / width_px)
    if camera.gravity is not None:
        x, y, z = camera.gravity
        rows[1], rows[2] = (x, y), (0, z)
    if person.height_m is not None:
        rows[3] = 0, math.log(person.height_m / USUAL_STATURE_M)
    return rows


NOTHING_KNOWN = known_rows(Camera(), Person(), 1.0)
