"""A client of the service, for programs: clips, poses with gaps, and live streams that survive lost connections.

    from poselift.client import Client

    with Client("http://127.0.0.1:8000") as client:
        answer = client.lift(keypoints, skeleton="coco17", image_size=(1920, 1080), fps=30)
        with client.stream(skeleton="coco17", image_size=(1920, 1080), fps=30, lookahead=5) as stream:
            for pose in stream.poses(frames):
                print(pose.frame_index, pose.joints)

In a stream without `fps`, frames are pairs of keypoints and time. `AsyncClient` has the same methods as coroutines.
Needs the extra `client` alone: neither NumPy nor torch is imported.
"""

from poselift.client.answers import (
    Answer,
    FrameWorld,
    InputWarning,
    ModelReference,
    Person,
    Pose,
    SessionState,
    StreamWorld,
    TimingMs,
    World,
)
from poselift.client.arrays import ArrayLike, TimedFrame
from poselift.client.async_client import AsyncClient
from poselift.client.async_stream import AsyncStream
from poselift.client.errors import ApiError
from poselift.client.sync_client import Client, Stream

__all__ = [
    "Answer",
    "ApiError",
    "ArrayLike",
    "AsyncClient",
    "AsyncStream",
    "Client",
    "FrameWorld",
    "InputWarning",
    "ModelReference",
    "Person",
    "Pose",
    "SessionState",
    "Stream",
    "StreamWorld",
    "TimedFrame",
    "TimingMs",
    "World",
]
