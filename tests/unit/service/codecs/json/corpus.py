"""Over a thousand JSON bodies, valid and invalid, for every call that takes keypoints or poses in JSON."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

MAX_FRAMES, MAX_TRACKS = 600, 5
# A body this long is read in pieces.
LONG_BYTES = 132 * 1024
AT = 3


class Case(NamedTuple):
    """A body, with a name."""

    name: str
    body: bytes


@cache
def frames_of(call: str, count: int) -> list[list[list[float]]]:
    """Keypoints in pixels, or poses in metres; always the same."""
    numbers = (np.arange(count * 51) * 7919 % 100_003 / 100_003).reshape(count, 17, 3)
    numbers = 2 * numbers - 1 if call == "complete" else numbers * (1900, 1000, 1)
    return numbers.round(9).tolist()


def document(call: str, frames: Any, /, **changes: Any) -> dict[str, Any]:
    """The fields of a valid body, some replaced; `...` removes one."""
    fields: dict[str, Any] = {
        "lift": {"keypoints": frames, "skeleton": "coco17", "image_size": [1920, 1080], "fps": 30},
        "complete": {"poses": frames, "skeleton": "h36m17", "fps": 50},
        "frames": {"frame_index": 7, "keypoints": frames},
    }[call]
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def spliced(call: str, count: int, at: int, replaced: str) -> bytes:
    """A document of so many frames, the one at `at` written as `replaced`."""
    frames = list(_written(call, count))
    frames[at] = replaced.encode("utf-8", "surrogatepass")
    whole = dump(document(call, "MARK"))
    return whole.replace(b'"MARK"', b"[" + b", ".join(frames) + b"]")


@cache
def _written(call: str, count: int) -> tuple[bytes, ...]:
    return tuple(map(dump, frames_of(call, count)))


def with_joint(call: str, joint: int, replaced: str) -> str:
    """A frame, one joint of which is written as `replaced`."""
    joints = [json.dumps(values) for values in frames_of(call, AT + 1)[AT]]
    joints[joint] = replaced
    return f"[{', '.join(joints)}]"


COORDINATES = (
    '"1"', '"x"', '""', "true", "false", "null", "[1]", "[]", "{}", '{"a": 1}', "NaN", "Infinity", "-Infinity", "nan",
    "1e999", "-1e999", "1e300", "1e39", "1000001", "-2e6", "1000000", "-0", "-0.0", "0.1e1", "1E2", "1e-400",
    "4.9e-324", "9007199254740993", "18446744073709551615", "18446744073709551616", "-9223372036854775809",
    "1" + "0" * 30, "9" * 400, "9" * 5000, "0." + "3" * 5000, "01", "1.", ".5", "+1", "0x10", "1e", "--1", "1_000",
    "\uff11", "1 2", "1,", ",", "", "//1\n1", "/* */ 1", "'1'", "\\u0031", "1\x00", "]", "[", "}", "{", '"]"', '"["',
    '"}"', '"\\""', '"keypoints": [', '"\ud800"', "true1",
)  # fmt: skip
JOINTS = (
    "null", "[]", "[1]", "[1, 2]", "[1, 2, 0.5]", "[1, 2, 0.5, 3]", "1", '"12"', '"123"', "false", "{}",
    '{"x": 1, "y": 2}', '{"x": 1, "y": 2, "z": 3}', "[[1, 2, 3]]", "[1, 2, 3,]", "[,1, 2]", "[1 2 3]", "[1, 2, 3",
    "1, 2, 3]", "[null, null]", "[null, null, null]", "[1, 2, null]", "[1, 2, -0.1]", "[1, 2, 87]", "[1, 2, 1.5]",
    "[1, 2, true]", "NaN", "nul", "Null", "None", "[1, 2, 3]]", "[[1, 2, 3]", "[1, 2, 3], [1, 2, 3]", "",
    "[1,\t2\n,\r3]", "[ ]", "[1, 2, 0.25 ]", "undefined", "[\"a\", \"b\", \"c\"]",
)  # fmt: skip
JOINT = "[0.25, 0.5, 0.75]"
FRAMES = (
    "null", "[]", "7", '"frame"', "{}", "true", "false", '{"keypoints": []}', '{"a": [1, 2], "b": 3}', '"]["',
    '"[[1, 2, 3]]"', "[" + ", ".join([JOINT] * 16) + "]", "[" + ", ".join([JOINT] * 18) + "]",
    "[[" + ", ".join([JOINT] * 17) + "]]", "[" + ", ".join([JOINT] * 17) + "]", "[" + ", ".join(["null"] * 17) + "]",
    "[" + ", ".join(["null"] * 16) + "]", "[" + ", ".join(["1.0"] * 51) + "]",
    "[" + ", ".join(["[0.25, 0.5]"] * 17) + "]", "[" + ", ".join([JOINT, "null"] * 8 + [JOINT]) + "]",
    "[" + ", ".join(["null", JOINT] * 8 + ["null"]) + "]", "null, null, null",
    "null, [" + ", ".join([JOINT] * 17) + "], null", "null,", "", "]", "[", "nulll", "null null", "[[[[[[[[]]]]]]]]",
    "[" + ", ".join(['{"0": 1, "1": 2, "2": 3}'] * 17) + "]", "[" + " " * 3000 + ", ".join([JOINT] * 17) + "]",
    "[" + " " * 70_000 + ", ".join([JOINT] * 17) + "]",
    "[" + ", ".join(["[" + ", ".join(["1"] * 30_000) + "]"] * 3) + "]", '["a", "b"]', "NaN", "[" * 100 + "]" * 100,
    "[" * 300 + "]" * 300, "[" * 5000 + "]" * 5000, '"' + "x" * 300 + '"', '{"keypoints": [null], "tracks": []}',
    "[" + ", ".join(["[null, null, 0]"] * 17) + "]", "[" + ", ".join(["[NaN, NaN, 0.0]"] * 17) + "]",
    "[" + ", ".join(["[null, null]", JOINT, "null"] * 5 + [JOINT] * 2) + "]",
)  # fmt: skip
FIELDS: dict[str, tuple[Any, ...]] = {
    "skeleton": (
        ..., None, "coco19", "COCO17", "body25", 17, ["coco17"], {}, True, "", "coco17\u0000", "é" * 10, "x" * 5000,
    ),
    "fps": ( ..., None, 0, -30, "30", True, [30], {}, 1e9, 0.1, 0.05, 10_000, 10_001, 10**30, 30.5, 1e-300, ),
    "image_size": (
        ..., None, [1920], [1920, 1080, 3], {"width": 1920, "height": 1080}, "1920x1080", [0, 1080], [1920, -1080],
        [1920.5, 1080], [1920.0, 1080], [10**9, 10**9], [True, 1080], ["1920", 1080], [None, 1080], [], [100_000, 1],
    ),
    "timestamps_s": (
        None, [], [0, 1], "0,1", [0.5 * n for n in range(6)], [0, 1, 2, 2, 4, 5], [0, 1, 0.5, 3, 4, 5],
        [0, 1, None, 3, 4, 5], [0, 1e300, 2, 3, 4, 5], [0, True, 2, 3, 4, 5], ["0"], {}, [[0]],
        [1.7e9 + n / 3 for n in range(6)],
    ),
    "targets": (
        None, [], [0], [0, 2, 5], [0, 2, 1], [0, 0], [0, 6], [-1], [1.5], [1.0], [10**30], [2**53 - 1], [2**53],
        ["1"], "0", {}, [True],
    ),
    "model": (
        None, 1, "x" * 1000, "resnet", "", "a@1", ["a"], 'a"keypoints', "keypoints", '"keypoints": [', "\\", "]",
        "poses",
    ),
    "mirrored_average": (None, True, False, "yes", 1, 0, []),
    "tracks": ([], None, {}, "a", [None], [{}], [[]]),
    "colour": ("red", None, 1, [1, 2, 3], {"keypoints": [1]}, {"keypoints": [[[1, 2, 3]]]}),
    "FPS": (30,),
    "__class__": ("x",),
    "frames": (6,),
    "": (1,),
    'x"keypoints': ([1],),
    "keypoints\\": ([1],),
    "frame_index": (..., None, 0, -1, 1.5, 1.0, True, "0", 2**53 - 1, 2**53, 10**30, [0]),
}  # fmt: skip
WHOLE = (
    b"", b" ", b"\0", b"{", b"}", b"[]", b"17", b"null", b"true", b'"keypoints"', b"{}", b"keypoints=1", b"\xff",
    b"\xef\xbb\xbf{}", b"{]", b'{"a":', b'{"a"}', b"{'a': 1}", b'{"keypoints"', b'{"keypoints":', b'{"keypoints":[',
    b'{"keypoints":[[', b'{"keypoints":[]]', b'{"keypoints": ]}', b'{"keypoints":[]}', b'{"keypoints":[null]}',
    b'{"keypoints":{"keypoints":[null]}}', b'{"poses":[', b'{"poses":[]}', b'{"poses":[null]}', b"NaN", b"{NaN: 1}",
    b'{"x\\"keypoints":[1],"keypoints":[null]}', b'{"keypoints":[null],}', b'{"end": true}', b'{"end":true}',
    b' {"end" : true } ', b'{"end": false}', b'{"end": 1}', b'{"end": 1.0}', b'{"end": null}',
    b'{"end": true, "end": false}', b'{"end": false, "end": true}', b'{"end": true}' + b" " * 60,
    b'{"end": true, "frame_index": 0}', b'{"end": true', b'{"END": true}', b'{"\\u0065nd": true}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":' * 50_000, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
    b"[" * 200_000, b'{"keypoints":' + b"[" * 9999 + b"]" * 9999 + b"}", b'"keypoints", ' * 60,
    b'{"a": "' + b'\\"keypoints\\": [' * 300 + b'"}',
)  # fmt: skip


def cases(call: str) -> Iterator[Case]:
    """All bodies for a call; those that are long, too, where length may matter."""
    yield from _in_arrays(call)
    yield from _fields(call)
    yield from _texts(call)
    yield from _tracks(call)
    yield from _valid(call)
    for number, body in enumerate(WHOLE):
        yield Case(f"whole {number}", body)
        yield Case(f"whole {number} padded", body + b" " * LONG_BYTES)


def _in_arrays(call: str) -> Iterator[Case]:
    """One thing replaced inside of an array of frames: in a short body, and near both ends of a long one."""
    for length, count, at in (("short", 6, AT), ("long", 250, AT), ("long, late", 250, 247)):
        for number, text in enumerate(COORDINATES):
            frame = with_joint(call, 5, f"[0.25, {text}, 0.75]")
            yield Case(f"coordinate {number} {length}", spliced(call, count, at, frame))
        for number, text in enumerate(JOINTS):
            yield Case(f"joint {number} {length}", spliced(call, count, at, with_joint(call, 5, text)))
        for number, text in enumerate(FRAMES):
            yield Case(f"frame {number} {length}", spliced(call, count, at, text))
            if length == "short":
                yield Case(f"first frame {number}", spliced(call, count, 0, text))
                yield Case(f"last frame {number}", spliced(call, count, count - 1, text))


def _fields(call: str) -> Iterator[Case]:
    for name, values in FIELDS.items():
        for number, value in enumerate(values):
            changes = {name: value}
            if name == "timestamps_s" and value is not None and number % 2 == 0:
                changes["fps"] = ...
            body = dump(document(call, frames_of(call, 6), **changes))
            yield Case(f"{name} {number}", body)
            if number < 4:
                yield Case(f"{name} {number} padded", body + b"\n" * LONG_BYTES)
                yield Case(f"{name} {number} long", dump(document(call, frames_of(call, 250), **changes)))


def _texts(call: str) -> Iterator[Case]:
    """What is done to the text of a valid body."""
    field = "poses" if call == "complete" else "keypoints"
    for length, count in (("short", 6), ("long", 250)):
        frames = frames_of(call, count)
        body = dump(document(call, frames))
        array = dump(frames)
        texts = {
            "half": body[: len(body) // 2],
            "without its end": body[:-1],
            "without its ends": body[:-40],
            "one byte": body[:1],
            "twice": body * 2,
            "and more": body + b" x",
            "and a NUL": body + b"\0",
            "with a BOM": b"\xef\xbb\xbf" + body,
            "in UTF-16": body.decode().encode("utf-16"),
            "in UTF-32": body.decode().encode("utf-32"),
            "invalid UTF-8": body.replace(b"fps", b"\xff\xfe").replace(b"frame_index", b"\xff\xfe"),
            "invalid UTF-8 in an array": body.replace(b"[[[", b"[[[\xff", 1),
            "in capitals": body.upper(),
            "with a comma at the end": body[:-1] + b",}",
            "without commas": body.replace(b",", b" "),
            "in single quotes": body.replace(b'"', b"'"),
            "spread": json.dumps(json.loads(body), indent=1).encode(),
            "tight": json.dumps(json.loads(body), separators=(",", ":")).encode(),
            "in odd spaces": body.replace(b"[", b"[\r\n").replace(b",", b"\t , "),
            "in form feeds": body.replace(b": [[[", b": \x0c[[["),
            "with the field after others": dump(dict(reversed(document(call, frames).items()))),
            "padded inside": body.replace(b"[[[", b" " * LONG_BYTES + b"[[["),
            "padded in the array": body.replace(b"[[[", b"[" + b" " * LONG_BYTES + b"[["),
            "padded before": b" " * LONG_BYTES + body,
            "the field in a string": dump(document(call, "MARK")).replace(b'"MARK"', dump(array.decode())),
            "the field twice": body[:-1] + b', "' + field.encode() + b'": ' + array + b"}",
            "the field twice, first wrong": body.replace(f'"{field}"'.encode(), f'"{field}": [7], "{field}"'.encode()),
            "the field twice, last null": body[:-1] + b', "' + field.encode() + b'": null}',
            "the field escaped": body.replace(f'"{field}"'.encode(), f'"\\u{ord(field[0]):04x}{field[1:]}"'.encode()),
            "the field misspelt": body.replace(f'"{field}"'.encode(), f'"{field.upper()}"'.encode()),
            "another field twice": body.replace(b'"fps"', b'"fps": 3, "fps"').replace(
                b'"frame_index"', b'"frame_index": 3, "frame_index"'
            ),
            "the field empty": dump(document(call, [])),
            "the field empty, spaced": dump(document(call, [])).replace(b"[]", b"[ \n ]"),
            "the field empty, padded": dump(document(call, [])).replace(b"[]", b"[" + b" " * LONG_BYTES + b"]"),
            "the field null": dump(document(call, None)),
            "the field missing": dump(document(call, ...)),
            "the field an object": dump(document(call, {"0": frames})),
            "the field a number": dump(document(call, 17)),
            "the field true": dump(document(call, True)),
            "a frame as the field": dump(document(call, frames[0] * count)),
            "a joint as the field": dump(document(call, frames[0][0] * count)),
            "one nesting too deep": dump(document(call, [frames])),
            "an opened array": dump(document(call, ...))[:-1] + b', "' + field.encode() + b'": [' + b"[" * 5000,
            "spaces without end": dump(document(call, ...))[:-1]
            + b', "'
            + field.encode()
            + b'": ['
            + b" " * LONG_BYTES,
            "nulls without end": dump(document(call, ...))[:-1] + b', "' + field.encode() + b'": [' + b"null, " * 500,
            "another array after it": body[:-1] + b', "a": [[[1, 2, 3]]]}',
            "another array before it": b'{"a": [[[1, 2, 3]]], ' + body[1:],
            "a string full of names after it": body[:-1] + b', "a": "' + field.encode() * 5 + b'"}',
            "a long number": body[:-1] + b', "a": ' + b"7" * 5000 + b"}",
            "much of something else": body[:-1] + b', "targets": [' + b"1," * 200_000 + b"1]}",
            "NaN elsewhere": body.replace(b"30", b"NaN", 1).replace(b'"frame_index": 7', b'"frame_index": NaN'),
            "a control character in a string": body.replace(b'17"', b'1\n7"'),
            "a lone surrogate": body.replace(b'17"', b'\\ud8007"'),
            "a bad escape": body.replace(b'17"', b'\\x177"'),
            "two mistakes": dump(document(call, [*frames[:-1], [7]], skeleton=7, fps=0)),
            "two mistakes of other kinds": dump(document(call, [*frames[:-1], frames[0][:3]], skeleton="dog", fps=0)),
            "two mistakes in numbers": dump(document(call, [*frames[:-1], [[1e9, 1, 1]] * 17], fps=...)),
            "mistakes in two frames": dump(document(call, [frames[0][:3], *frames[:-2], [7]])),
            "mistakes in three frames": dump(document(call, [[[1e9, 1, 1]] * 17, *frames[:-2], frames[0][:3]])),
        }
        for name, text in texts.items():
            yield Case(f"{name} {length}", text)


def _tracks(call: str) -> Iterator[Case]:
    if call == "frames":
        return
    field = "poses" if call == "complete" else "keypoints"
    for length, count in (("short", 4), ("long", 250)):
        frames = frames_of(call, count)

        def person(track_id: Any = "1", given: Any = frames, field: str = field, **more: Any) -> dict[str, Any]:
            values = {"track_id": track_id, field: given, **more}
            return {name: value for name, value in values.items() if value is not ...}

        people: dict[str, list[Any]] = {
            "one": [person()],
            "two": [person("a"), person("b", frames[::-1])],
            "two of different lengths": [person("a"), person("b", frames[:2])],
            "two with nulls": [person("a", [None, *frames]), person("b", [None])],
            "not a person": [person("a"), None],
            "an array": [person("a"), frames],
            "no name": [person(...)],
            "no frames": [person("a"), person("b", ...)],
            "empty": [person("a"), person("b", [])],
            "null": [person("a"), person("b", None)],
            "a number as a name": [person(7)],
            "an empty name": [person("")],
            "a long name": [person("x" * 129)],
            "a name of the limit": [person("x" * 128)],
            "the same name": [person("1"), person("2"), person("1")],
            "odd names": [
                person('a"keypoints'),
                person("]"),
                person("keypoints"),
                person('"keypoints": ['),
                person("\\"),
            ],
            "more odd names": [
                person("tracks"),
                person("poses"),
                person("é\u4e00\U0001f600"),
                person("\u0000"),
                person("}"),
            ],
            "another field": [person(colour="red")],
            "a wrong joint": [person("a"), person("b", [*frames, ["x"]])],
            "too few joints": [person("a"), person("b", [*frames, frames[0][:1]])],
            "a huge number": [person("a", [[[1e7, 0, 1]] * 17]), person("b")],
            "too many": [person(str(n), [None]) for n in range(MAX_TRACKS + 1)],
            "too many that are long": [person(str(n)) for n in range(MAX_TRACKS + 1)],
            "too many frames": [person(str(n), [None] * 350) for n in range(2)],
            "mistakes in two": [person("a", [*frames, ["x"]]), person(7)],
            "tracks in a track": [person(tracks=[])],
            "frames of frames": [person("a", {field: frames})],
        }
        for name, tracks in people.items():
            body = dump(document(call, ..., tracks=tracks))
            yield Case(f"tracks: {name} {length}", body)
            yield Case(f"tracks: {name} {length} padded", b" " * LONG_BYTES + body)
        yield Case(f"tracks and {field} {length}", dump(document(call, frames, tracks=[person()])))
        yield Case(
            f"{call} timestamps of tracks {length}",
            dump(document(call, ..., fps=..., timestamps_s=[0, 1], tracks=[person()])),
        )
        yield Case(
            f"{call} targets of tracks {length}",
            dump(document(call, ..., targets=[3], tracks=[person(), person("2", frames[:2])])),
        )


def _valid(call: str) -> Iterator[Case]:
    """Frames of all lengths around those of a piece, with everything that may be missing missing."""
    for count in (1, 2, 27, 150, 250, 600, 601):
        frames: list[Any] = frames_of(call, count)
        yield Case(f"{count} frames", dump(document(call, frames)))
        holes = [
            None if number % 7 == 3 else [None if (number + joint) % 5 == 1 else at for joint, at in enumerate(frame)]
            for number, frame in enumerate(frames)
        ]
        yield Case(f"{count} frames with holes", dump(document(call, holes)))
        pairs = [[joint[:2] for joint in frame] for frame in frames]
        yield Case(f"{count} frames of pairs", dump(document(call, pairs)))
        mixed: list[Any] = [
            [joint[: 2 + (place + number) % 2] for place, joint in enumerate(frame)]
            for number, frame in enumerate(frames)
        ]
        yield Case(f"{count} mixed frames", dump(document(call, mixed)))
        mixed = [
            frame if frame is None else [joint and joint[: 2 + number % 2] for joint in frame]
            for number, frame in enumerate(holes)
        ]
        yield Case(f"{count} mixed frames with holes", dump(document(call, mixed)))
        whole = [[[round(value) for value in joint] for joint in frame] for frame in frames]
        yield Case(f"{count} frames of integers", dump(document(call, whole)))
        times = [n / 50 for n in range(count)]
        if call != "frames":
            yield Case(f"{call} {count} frames at times", dump(document(call, frames, fps=..., timestamps_s=times)))
        yield Case(f"{count} null frames", dump(document(call, [None] * count)))
        yield Case(f"{count} frames of nulls", dump(document(call, [[None] * 17] * count)))
        yield Case(f"{count} frames, the last null", dump(document(call, [*frames[:-1], None])))
        yield Case(f"{count} frames, the first null", dump(document(call, [None, *frames[1:]])))
