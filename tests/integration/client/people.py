"""People who are streamed through the client library, and what of their poses was lost, doubled or changed."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poselift.client import Client, Pose
from tests.integration.walking import IMAGE_SIZE, at_rate, keypoints, wandering

FPS = 30
LONGEST_FRAMES = 200
MOST_AHEAD = 8
CLIP: dict[str, Any] = {"skeleton": "coco17", "image_size": IMAGE_SIZE}


class WalkingPerson:
    """One stream of random length, sent one or several frames ahead of the answers.

    Attributes:
        points: keypoints [F, J, 3].
        times_s: [F], of the cameras whose frames carry their times; None for the others.
    """

    def __init__(self, chance: random.Random) -> None:
        self.length = chance.randint(1, LONGEST_FRAMES)
        self.times_s = wandering(self.length, chance.randrange(1000)) if chance.random() < 0.5 else None
        times_s = at_rate(FPS, self.length) if self.times_s is None else self.times_s
        self.points = keypoints(times_s, chance.randrange(1000)).astype(np.float32)
        self._ahead = chance.choice((1, 1, chance.randint(2, MOST_AHEAD)))

    @property
    def opening(self) -> dict[str, Any]:
        """What their session is opened with: full lookahead, and a frame rate if frames have no times."""
        return {**CLIP, **({"fps": FPS} if self.times_s is None else {}), "lookahead": "full"}

    def stream(self, client: Client, before_frame: Callable[[int], None] = lambda index: None) -> NDArray[np.float64]:
        """Stream the person with full lookahead.

        Args:
            before_frame: called with the index of each frame, before it is sent.
        Returns:
            The poses [F, J, 3].
        """
        poses: list[Pose] = []
        with client.stream(**self.opening) as stream:
            for index, frame in enumerate(self.points):
                before_frame(index)
                time_s = None if self.times_s is None else self.times_s[index]
                poses += stream.send(frame, time_s=time_s, ahead=self._ahead)
            poses += stream.end()
        self.expect_each_frame(pose.frame_index for pose in poses)
        return np.array([pose.joints for pose in poses])

    def expect_each_frame(self, indices: Iterable[int]) -> None:
        """Fail unless these are the indices of all frames, each once and in order."""
        assert list(indices) == list(range(self.length)), "lost, doubled, or out of order"

    def difference_m(self, client: Client, streamed: NDArray[np.float64]) -> float:
        """The largest difference to the poses of POST /lift, in metres."""
        times: dict[str, Any] = {"fps": FPS} if self.times_s is None else {"timestamps_s": self.times_s}
        whole = np.array(client.lift(self.points, **CLIP, **times).poses)
        return float(np.abs(streamed - whole).max())
