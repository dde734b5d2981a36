"""Documents of JSON that are deep, wide, long, or full of odd numbers, posted to every path that reads one."""

import contextlib
import json
from collections import Counter

from tests.attacks.target import JSON, Target, ticks

_MIB = 1 << 20
_BEGIN = b'{"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, '
_JOINT = [100.5, 200.25, 0.9]


def clip(frames: int) -> bytes:
    """A good clip of some frames."""
    return json.dumps(
        {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "keypoints": [[_JOINT] * 17] * frames}
    ).encode()


def completion(frames: int) -> bytes:
    """A good request to complete poses of some frames."""
    return json.dumps({"skeleton": "h36m17", "fps": 30, "poses": [[[0.1, 0.2, 4.0]] * 17] * frames}).encode()


def documents(size: int) -> dict[str, bytes]:
    """Documents of about some size, by what is odd about them."""
    return {
        "deep lists": _BEGIN + b'"keypoints": ' + b"[" * size + b"}",
        "deep objects": b'{"a":' * (size // 5),
        "deep and closed": _BEGIN + b'"keypoints": ' + b"[" * (size // 2) + b"]" * (size // 2) + b"}",
        "infinite numbers": _BEGIN + b'"keypoints": [' + b"1e309," * (size // 6) + b"0]}",
        "long numbers": _BEGIN + b'"fps": ' + b"9" * size + b"}",
        "long names": b'{"' + b"x" * size + b'": 1}',
        "many names": b"{" + b",".join(b'"%d":0' % number for number in range(size // 10)) + b"}",
        "a name again": b"{" + b'"fps":1,' * (size // 8) + b'"fps":2}',
        "escapes": b'{"skeleton": "' + rb"\u0041" * (size // 6) + b'"}',
        "unknown skeleton": b'{"keypoints": [], "image_size": [1, 1], "fps": 30, "skeleton": "' + b"y" * size + b'"}',
        "unknown model": _BEGIN + b'"keypoints": [[null]], "model": "' + b"m" * size + b'"}',
        "nulls": _BEGIN + b'"keypoints": [' + b"null," * (size // 5) + b"null]}",
        "empty lists": _BEGIN + b'"keypoints": [' + b"[]," * (size // 3) + b"[]]}",
        "texts": _BEGIN + b'"keypoints": [' + b'"",' * (size // 3) + b'""]}',
        "tracks": _BEGIN + b'"tracks": [' + b"{}," * (size // 3) + b"{}]}",
        "targets": _BEGIN + b'"keypoints": [], "targets": [' + b"0," * (size // 2) + b"0]}",
        "times": _BEGIN + b'"keypoints": [], "timestamps_s": [' + b"0," * (size // 2) + b"0]}",
        "space": b" " * size + b"{}",
        "surrogates": b'{"skeleton": "' + rb"\ud800" * (size // 6) + b'"}',
        "not UTF-8": b'{"skeleton": "' + b"\xff" * size + b'"}',
        "frames of nulls": b'{"frame_index": 0, "keypoints": [' + b"null," * (size // 5) + b"null]}",
        "a large index": b'{"frame_index": ' + b"1" * size + b', "keypoints": [null]}',
    }


def posted(target: Target, path: str, size: int) -> Counter[str]:
    """Post all of them in turns; `{session}` in the path is a session of one's own."""
    path = path.format(session=target.open_session()) if "{session}" in path else path
    built = list(documents(size).values())
    seen: Counter[str] = Counter()
    for number in ticks(target.seconds, 30):
        with contextlib.suppress(OSError):
            status, _ = target.request("POST", path, built[number % len(built)], JSON)
            seen[str(status)] += 1
    return seen


def one_posted(target: Target, name: str, size: int, path: str = "/lift") -> Counter[str]:
    """Post one of them again and again."""
    document = documents(size)[name]
    seen: Counter[str] = Counter()
    for _ in ticks(target.seconds, 30):
        with contextlib.suppress(OSError):
            status, _ = target.request("POST", path, document, JSON)
            seen[str(status)] += 1
    return seen
