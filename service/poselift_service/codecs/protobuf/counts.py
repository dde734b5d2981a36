"""Counts in the bytes of a message, checked before it is parsed.

Two bytes are enough for an entry of a repeated field, and make an object of a hundred bytes or more. So the fields are
counted on the wire: their tags and lengths are read one by one, up to a number of fields that no valid message has, and
all that lies inside of a packed field is skipped.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from poselift.skeletons import SKELETONS
from poselift_service.errors import InvalidRequest
from poselift_service.pipeline.request import Limits

# In so few bytes, no field can have more entries than are parsed within a millisecond or two.
_UNCHECKED_BYTES = 4096
# Fields of a message, and of each entry of a repeated field; a valid message has every field once.
_MOST_FIELDS, _MOST_FIELDS_PER_ENTRY = 64, 8
_MAX_VARINT_BYTES = 10
_NUMBERS_PER_FRAME = 3 * max(skeleton.n_joints for skeleton in SKELETONS.values())
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_CONTINUED = bytes(range(0x80, 0x100))  # bytes of a varint that are not its last
_WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: _FIXED64,
    FieldDescriptor.TYPE_FLOAT: _FIXED32,
    FieldDescriptor.TYPE_MESSAGE: _DELIMITED,
}


_Descriptor: TypeAlias = Any  # the stubs know two classes of it


class CountLimit(NamedTuple):
    """How many entries a repeated field may have in a whole message.

    Attributes:
        refusal: the sentence that refuses more of them.
    """

    most: int
    refusal: str


CountLimits = Mapping[str, CountLimit]
"""Limits of repeated fields by name; fields of nested messages with the same name are counted together."""

_MOST_NUMBERS = CountLimit(8, "A camera has fewer numbers: 2, 3, 4 or 5 of a kind.")
OPENING_LIMITS: CountLimits = dict.fromkeys(("principal_point_px", "distortion", "gravity"), _MOST_NUMBERS)
"""The limits of `CreateSessionRequest`."""


def clip_limits(limits: Limits) -> CountLimits:
    """The limits of `LiftRequest` and `CompleteRequest`."""
    refusal = limits.frames_refusal
    frames, numbers = CountLimit(limits.frames, refusal), CountLimit(_NUMBERS_PER_FRAME * limits.frames, refusal)
    tracks = CountLimit(limits.tracks, limits.tracks_refusal)
    clip = {"tracks": tracks, "keypoints": numbers, "poses": numbers, "timestamps_s": frames, "targets": frames}
    return {**OPENING_LIMITS, **clip}


def refine_limits(limits: Limits) -> CountLimits:
    """The limits of `RefineRequest`, whose answer has as many frames and people as its request."""
    clip = clip_limits(limits)
    tracks = CountLimit(2 * limits.tracks, limits.tracks_refusal)
    few = CountLimit(256, "An answer has fewer of them.")
    names = dict.fromkeys(("joint_names", "warnings", "angles", "direction"), few)
    numbers = dict.fromkeys(
        ("joints", "expected_error_m", "root", "contacts", "rotations", "degrees"),
        CountLimit(2 * _NUMBERS_PER_FRAME * limits.frames, limits.frames_refusal),
    )
    return {**clip, **names, **numbers, "tracks": tracks}


def live_limits(limits: Limits) -> CountLimits:
    """The limits of `LiftStreamRequest` and `LiftStreamsRequest`."""
    most, refusal = limits.live_frames, limits.live_frames_refusal
    frames, numbers = CountLimit(most, refusal), CountLimit(_NUMBERS_PER_FRAME * most, refusal)
    return {"frames": frames, "keypoints": numbers, "sessions": CountLimit(limits.tracks, limits.tracks_refusal)}


def check_counts(body: bytes, kind: type[Message], limits: CountLimits) -> None:
    """Refuse a message with too many entries or fields.

    Args:
        limits: has every repeated field of that kind of message.
    Raises:
        InvalidRequest: it has too many, or is no message; the path names the field.
    """
    if len(body) > _UNCHECKED_BYTES:
        layout = _layout(kind.DESCRIPTOR)
        entries = sum(limits[name].most for name in _repeated_messages(layout))
        _Counter(body, kind.DESCRIPTOR.full_name, limits, _MOST_FIELDS + _MOST_FIELDS_PER_ENTRY * entries).count(layout)


def most_bytes(limits: Limits) -> int:
    """The size of the largest message within the limits, also where its numbers are not packed."""
    return 5 * _NUMBERS_PER_FRAME * limits.frames + 2 * 11 * limits.frames + 1024 * (limits.tracks + 64)


class _Field(NamedTuple):
    """What is known of a field.

    Attributes:
        nested: the fields of its messages; None where it has no messages.
    """

    name: str
    is_repeated: bool
    wire_type: int
    nested: "dict[int, _Field] | None"


@lru_cache(maxsize=16)
def _layout(kind: _Descriptor) -> dict[int, _Field]:
    return {
        number: _Field(
            field.name,
            field.is_repeated,
            _WIRE_TYPES.get(field.type, _VARINT),
            None if field.message_type is None else _layout(field.message_type),
        )
        for number, field in kind.fields_by_number.items()
    }


def _repeated_messages(layout: dict[int, _Field]) -> set[str]:
    """Names of the repeated fields with messages, in a message and in those within it."""
    nested = [field for field in layout.values() if field.nested is not None]
    deeper = (_repeated_messages(field.nested) for field in nested if field.nested)
    return {field.name for field in nested if field.is_repeated}.union(*deeper)


class _Counter:
    """Counts the entries of the repeated fields of one message."""

    def __init__(self, body: bytes, name: str, limits: CountLimits, most_fields: int) -> None:
        self._body = body
        self._name = name
        self._limits = limits
        self._left = {field: limit.most for field, limit in limits.items()}
        self._fields_left = most_fields
        self._message = ""  # path of the nested message that is being counted, with a dot at its end

    def count(self, layout: dict[int, _Field], start: int = 0, stop: int | None = None) -> None:
        """Count the fields between two positions, and those of the messages in them."""
        position, stop = start, len(self._body) if stop is None else stop
        messages = Counter[str]()
        while position < stop:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise InvalidRequest(f"The {self._name} has more fields than a valid one can have.")
            start = position
            tag, position = self._varint(start)
            begin, position = self._value(tag & 7, position)
            if position > stop:
                raise self._malformed()
            field = layout.get(tag >> 3)
            if field is None:
                continue
            if tag & 7 == _DELIMITED and field.nested is not None:
                self._take_message(field, field.nested, messages[field.name], begin, position)
                messages[field.name] += 1
            elif tag & 7 == _DELIMITED:
                self._take_packed(field, begin, position)
            elif field.is_repeated:
                position = self._take_run(field, tag & 7, start, begin, stop)
                if position > stop:
                    raise self._malformed()

    def _take_message(self, field: _Field, layout: dict[int, _Field], number: int, begin: int, end: int) -> None:
        """Count a message and what is in it; `number` is its place among those of its field."""
        outer = self._message
        if field.is_repeated:
            self._spend(field.name, 1)
            self._message = f"{outer}{field.name}[{number}]."
        self.count(layout, begin, end)
        self._message = outer

    def _take_packed(self, field: _Field, begin: int, end: int) -> None:
        """Count the numbers of a packed field."""
        if field.is_repeated:
            size = _FIXED_BYTES.get(field.wire_type)
            self._spend(field.name, (end - begin) // size if size else self._varints(begin, end))

    def _take_run(self, field: _Field, wire_type: int, start: int, begin: int, stop: int) -> int:
        """Count a number that is not packed and the equal fields behind it; returns the position after them."""
        tag, size = self._body[start:begin], _FIXED_BYTES.get(wire_type)
        if len(tag) > 1:  # written by nobody: every such number counts as a field
            entries, end = 1, self._value(wire_type, begin)[1]
        elif size is not None:
            tags = self._body[start : stop : 1 + size]
            entries = len(tags) - len(tags.lstrip(tag))
            end = start + entries * (1 + size)
        else:
            match = _varint_fields(tag, self._limits[field.name].most).match(self._body, start, stop)
            assert match is not None, "its first number has been read"
            end = match.end()
            entries = self._varints(start, end) // 2  # the tags are varints as well
        self._spend(field.name, entries)
        return end

    def _spend(self, name: str, entries: int) -> None:
        self._left[name] -= entries
        if self._left[name] < 0:
            raise InvalidRequest(self._limits[name].refusal, path=f"{self._message}{name}")

    def _value(self, wire_type: int, position: int) -> tuple[int, int]:
        """Where the value at a position begins, after its length if it has one, and where it ends."""
        if wire_type == _DELIMITED:
            length, position = self._varint(position)
            return position, position + length
        if wire_type == _VARINT:
            return position, self._varint(position)[1]
        if wire_type not in _FIXED_BYTES:
            raise self._malformed()
        return position, position + _FIXED_BYTES[wire_type]

    def _varint(self, position: int) -> tuple[int, int]:
        """The number at a position, and the position after it."""
        number = 0
        for place, byte in enumerate(self._body[position : position + _MAX_VARINT_BYTES]):
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return number, position + place + 1
        raise self._malformed()

    def _varints(self, start: int, end: int) -> int:
        """The number of varints between two positions."""
        return len(self._body[start:end].translate(None, _CONTINUED))

    def _malformed(self) -> InvalidRequest:
        return not_a_message(self._name)


def not_a_message(name: str) -> InvalidRequest:
    """The refusal of bytes that are no message of that name."""
    return InvalidRequest(
        f"The body is not a {name} in protobuf; JSON is sent as application/json, or in a text message of a WebSocket."
    )


@lru_cache(maxsize=16)
def _varint_fields(tag: bytes, most: int) -> "re.Pattern[bytes]":
    """Matches fields of varints with the same tag that follow one another; at most one more than the limit."""
    return re.compile(rb"(?:%b[\x80-\xff]{0,9}[\x00-\x7f]){1,%d}" % (re.escape(tag), most + 1))
