"""Messages that are almost good, made fast: good ones in which bytes, words or fields are changed at random."""

import enum
import json
import random
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from poselift.pb import lifter_pb2 as pb
from tests.integration.wire_noise import ODD_FLOATS, ODD_INTEGERS, parts

OPENING = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}


class Kind(enum.Enum):
    """How a message is sent."""

    JSON = enum.auto()
    PROTOBUF = enum.auto()
    STREAM = enum.auto()


class Sent(NamedTuple):
    """A message: text is sent as such over WebSocket, and bytes as they are."""

    kind: Kind
    path: str | None
    body: bytes | str


SIZE = pb.ImageSize(width_px=1920, height_px=1080)
CLIP = [value for joint in range(17) for value in (100.0 + joint, 200.0, 0.9)] * 3
POSES = [value for joint in range(17) for value in (0.1 * joint, 0.2, float("nan") if joint == 5 else 4.0)] * 3
_JOINTS = [[100.5 + joint, 200, 0.9] for joint in range(17)]
LIFT_REQUESTS: list[Message] = [
    pb.LiftRequest(keypoints=CLIP, skeleton="coco17", image_size=SIZE, fps=30),
    pb.LiftRequest(
        tracks=[pb.Track(track_id="1", keypoints=CLIP), pb.Track(track_id="2", keypoints=CLIP)],
        skeleton="coco17",
        image_size=SIZE,
        timestamps_s=[0, 0.1, 0.2],
        model="random-27",
        mirrored_average=True,
        targets=[0, 2],
    ),
]
COMPLETE_REQUESTS: list[Message] = [
    pb.CompleteRequest(poses=POSES, skeleton="h36m17", fps=30),
    pb.CompleteRequest(
        tracks=[pb.PoseTrack(track_id="1", poses=POSES), pb.PoseTrack(track_id="2", poses=POSES)],
        skeleton="h36m17",
        timestamps_s=[0, 0.1, 0.2],
        model="completing-27",
        mirrored_average=True,
        targets=[0, 2],
    ),
]
_PROTOBUF = {"/lift": LIFT_REQUESTS, "/complete": COMPLETE_REQUESTS}
_STREAM: list[Message] = [
    pb.LiftStreamRequest(frames=[pb.Frame(frame_index=0, keypoints=CLIP[:51])]),
    pb.LiftStreamRequest(frames=[pb.Frame(frame_index=index, keypoints=CLIP[:51]) for index in range(3)]),
    pb.LiftStreamRequest(end=True),
]
_FRAMES = [
    {"frame_index": 0, "keypoints": [_JOINTS]},
    {"frame_index": 0, "keypoints": [[*_JOINTS[:16], None], None]},
    {"end": True},
]
_JSON: dict[str, list[Any]] = {
    "/lift": [
        {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "keypoints": [_JOINTS, _JOINTS]},
        {
            "skeleton": "coco17",
            "image_size": [1920, 1080],
            "timestamps_s": [0, 0.1],
            "tracks": [{"track_id": "1", "keypoints": [_JOINTS, None]}],
            "model": "random-27",
            "mirrored_average": True,
            "targets": [1],
        },
    ],
    "/complete": [{"skeleton": "h36m17", "fps": 30, "poses": [[[0.1, 0.2, 4.0]] * 16 + [None]] * 2}],
    "/sessions": [OPENING, {**OPENING, "model": "random-27", "lookahead": "full"}],
    "/sessions/{session_id}/frames": _FRAMES,
}
_WORDS = [
    "null", "-1", "0", "1e999", "-0.0", "NaN", "Infinity", "[]", "[[]]", "{}", '"', "\\ud800", "9" * 400, "true", ",",
    ":", "]", "}", "[", "{", '"keypoints"', '"tracks"', '"fps":', '"\\u0000"', "1.5", "1E400", "\t", "\x00", "é",
    "\U0001f600",
]  # fmt: skip
_MOST_REPEATED = 40


def message(chance: random.Random) -> Sent:
    """Make a message."""
    kind = chance.choice(list(Kind))
    if kind is Kind.JSON:
        path = chance.choice(list(_JSON))
        return Sent(kind, path, _text(chance, _JSON[path]).encode(errors="surrogatepass"))
    if kind is Kind.PROTOBUF:
        path = chance.choice(list(_PROTOBUF))
        return Sent(kind, path, _binary(chance, _PROTOBUF[path]))
    return Sent(kind, None, _text(chance, _FRAMES) if chance.random() < 0.5 else _binary(chance, _STREAM))


def _text(chance: random.Random, good: list[Any]) -> str:
    """A document in which values have others in their places, or words stand where there were none."""
    document = json.loads(json.dumps(chance.choice(good)))
    for _ in range(chance.randrange(3)):
        document = _with_another_value(chance, document)
    text = json.dumps(document)
    for _ in range(chance.randrange(3)):
        begin = chance.randint(0, len(text))
        text = text[:begin] + chance.choice(_WORDS) + text[begin + chance.choice((0, 1, 1, 5, 50)) :]
    return text[: chance.randint(0, len(text))] if chance.random() < 0.05 else text


def _with_another_value(chance: random.Random, document: Any) -> Any:
    if document and isinstance(document, dict | list) and chance.random() < 0.8:
        places: Any = list(document) if isinstance(document, dict) else range(len(document))
        place = chance.choice(places)
        if chance.random() < 0.1:
            del document[place]
        else:
            document[place] = _with_another_value(chance, document[place])
        return document
    values: list[Any] = [None, True, -1, 0.5, 10**30, 1e308, "", "coco17", "x" * 50, [], {}, [document], [[1, 2]]]
    return chance.choice([*values, [document] * chance.randrange(_MOST_REPEATED)])


def _binary(chance: random.Random, good: list[Message]) -> bytes:
    """A message whose fields have other values, or whose bytes are others."""
    altered = type(chosen := chance.choice(good))()
    altered.CopyFrom(chosen)
    for _ in range(chance.randrange(3)):
        _change_field(chance, chance.choice([altered, *parts(altered)]))
    body = bytearray(altered.SerializeToString())
    for _ in range(chance.randrange(3)):
        begin = chance.randint(0, len(body))
        replacement = (chance.randbytes(chance.randrange(6)), bytes(body[begin : begin + 8]) * 2, _odd_float(chance))
        body[begin : begin + chance.randrange(9)] = chance.choice(replacement)
    return bytes(body[: chance.randint(0, len(body))] if chance.random() < 0.05 else body)


def _odd_float(chance: random.Random) -> bytes:
    return struct.pack("<f", chance.choice(ODD_FLOATS))


def _change_field(chance: random.Random, part: Message) -> None:
    described: Any = chance.choice(list(part.DESCRIPTOR.fields))
    if described.message_type is not None:
        part.ClearField(described.name)
        return
    make = _VALUES[described.cpp_type]
    if described.is_repeated:
        values = getattr(part, described.name)
        values[chance.randint(0, len(values)) :] = [make(chance) for _ in range(chance.randrange(_MOST_REPEATED))]
    else:
        setattr(part, described.name, make(chance))


def _number(chance: random.Random) -> float:
    return chance.choice([*ODD_FLOATS, chance.uniform(0, 2000), chance.uniform(0, 1)])


_VALUES: dict[int, Callable[[random.Random], Any]] = {
    FieldDescriptor.CPPTYPE_FLOAT: _number,
    FieldDescriptor.CPPTYPE_DOUBLE: _number,
    FieldDescriptor.CPPTYPE_STRING: lambda chance: chance.choice(["", "coco17", "h36m17", "x" * 300, "\x00é"]),
    FieldDescriptor.CPPTYPE_UINT32: lambda chance: chance.choice([*ODD_INTEGERS, chance.randrange(50)]) % 2**32,
    FieldDescriptor.CPPTYPE_UINT64: lambda chance: chance.choice([*ODD_INTEGERS, chance.randrange(50)]),
    FieldDescriptor.CPPTYPE_BOOL: lambda chance: chance.random() < 0.5,
}
