"""How long reading keypoints from JSON takes, and how long the event loop waits for it meanwhile.

Baseline: pydantic over the whole body, and NumPy over what it gives. All numbers are medians of runs that alternate.

    python -m tests.benchmarks.json_reader
"""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from poselift_service.codecs.json.forms import LiftForm
from poselift_service.codecs.json.lift import JsonLiftCodec
from poselift_service.codecs.json.reader import JsonReader
from poselift_service.pipeline.request import Limits

FRAMES = (1, 27, 150, 10_000)
LIMITS = Limits(frames=10_000, tracks=1)
MISSING = (np.nan, np.nan, 0.0)
MEASURED_S = 2.0

Read = Callable[[bytes], Awaitable[object]]


class Measured(NamedTuple):
    """Medians of several reads, in seconds."""

    read_s: float
    longest_stall_s: float


def processor() -> str:
    """Its name and the vector instructions it has, on which simdjson depends."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    pairs = (line.partition(":") for line in information.read_text().splitlines())
    lines = {name.strip(): value.strip() for name, _, value in pairs}
    flags = [flag for flag in lines.get("flags", "").split() if flag.startswith(("avx", "amx", "sse4"))]
    return " ".join([lines.get("model name", platform.machine()), *flags])


def body(frames: int, *, has_nulls: bool) -> bytes:
    """Keypoints as detectors write them; with nulls, every seventh frame and every fifth joint is null."""
    random = np.random.default_rng(0)
    positions, scores = random.uniform(0, 1900, (frames, 17, 2)).round(2), random.random((frames, 17, 1)).round(3)
    keypoints: list[Any] = np.concatenate([positions, scores], axis=-1).tolist()
    if has_nulls:
        keypoints = [
            None if frame % 7 == 3 else [None if (frame + joint) % 5 == 0 else at for joint, at in enumerate(joints)]
            for frame, joints in enumerate(keypoints)
        ]
    return orjson.dumps({"keypoints": keypoints, "skeleton": "coco17", "image_size": [1920, 1080], "fps": 30})


async def read_with_pydantic(body: bytes) -> NDArray[np.float32]:
    """The plain way."""
    form = LiftForm.model_validate_json(body)
    assert form.keypoints is not None
    undetected = [None] * 17
    return np.array([[joint or MISSING for joint in frame or undetected] for frame in form.keypoints], np.float32)


async def longest_stall(work: Awaitable[object]) -> float:
    """The longest time that something else on the event loop waits for its turn during some work."""
    longest, last, is_done = 0.0, time.perf_counter(), False

    async def wait_for_turns() -> None:
        nonlocal longest, last
        while not is_done:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    waiting = asyncio.create_task(wait_for_turns())
    await asyncio.sleep(0)
    last, longest = time.perf_counter(), 0.0
    await work
    await asyncio.sleep(0)
    is_done = True
    await waiting
    return longest


async def measure(ways: dict[str, Read], body: bytes) -> dict[str, Measured]:
    reads: dict[str, list[float]] = {name: [] for name in ways}
    stalls: dict[str, list[float]] = {name: [] for name in ways}
    until = time.perf_counter() + MEASURED_S
    while time.perf_counter() < until or len(reads[next(iter(ways))]) < 5:
        for name, read in ways.items():
            started = time.perf_counter()
            await read(body)
            reads[name].append(time.perf_counter() - started)
            stalls[name].append(await longest_stall(read(body)))
    return {name: Measured(median(reads[name]), median(stalls[name])) for name in ways}


def main() -> None:
    print(processor())
    codec = JsonLiftCodec(JsonReader(LIMITS))
    ways: dict[str, Read] = {"reader": codec.read_lift, "pydantic": read_with_pydantic}
    print("frames  nulls      bytes   " + "   ".join(f"{name}: read, longest stall" for name in ways))
    for frames in FRAMES:
        for has_nulls in (False, True):
            content = body(frames, has_nulls=has_nulls)
            measured = asyncio.run(measure(ways, content))
            figures = "   ".join(
                f"{1000 * each.read_s:12.3f} {1000 * each.longest_stall_s:10.3f} ms" for each in measured.values()
            )
            print(f"{frames:6}  {'yes' if has_nulls else 'no':5} {len(content):10}   {figures}")


if __name__ == "__main__":
    main()
