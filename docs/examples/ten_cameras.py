"""Lift the people before ten cameras in one process, each over a stream of its own.

python docs/examples/ten_cameras.py clip.json http://127.0.0.1:8000

Here every camera plays the same clip, in real time. A real one yields the keypoints of its detector in `camera`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from poselift.client import AsyncClient

CAMERAS = 10


async def camera(clip: dict[str, Any]) -> AsyncIterator[Any]:
    """Keypoints [joints][3] of one frame after another."""
    for keypoints in clip["keypoints"]:
        yield keypoints
        await asyncio.sleep(1 / clip["fps"])


async def follow(client: AsyncClient, number: int, clip: dict[str, Any]) -> None:
    stream = client.stream(skeleton=clip["skeleton"], image_size=clip["image_size"], fps=clip["fps"], lookahead=5)
    async with stream:
        async for pose in stream.poses(camera(clip)):
            head = stream.session.joint_names.index("head")
            print(number, pose.frame_index, pose.joints[head])


async def main(clip_file: str, url: str) -> None:
    clip = json.loads(Path(clip_file).read_text(encoding="utf-8"))
    async with AsyncClient(url) as client, asyncio.TaskGroup() as cameras:
        for number in range(CAMERAS):
            cameras.create_task(follow(client, number, clip))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
