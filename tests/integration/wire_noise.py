"""Bytes that are almost messages of protobuf: mutated good ones, and fields put together at random."""

import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

VARINT, FIXED64, LENGTH, GROUP, END_OF_GROUP, FIXED32 = range(6)
ODD_FLOATS = [float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e-45, 3.4e38, 1e6 + 1]
ODD_INTEGERS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


integers = st.one_of(st.sampled_from(ODD_INTEGERS), st.integers(0, 200))
floats = st.one_of(st.sampled_from(ODD_FLOATS), st.floats(0, 2000, width=32))
packed_floats = st.lists(floats, max_size=120).map(lambda values: struct.pack(f"<{len(values)}f", *values))
words = st.one_of(
    st.sampled_from([b"coco17", b"h36m17", b"mpi17", b"", b"\xff\xfe", b"a" * 300]), st.binary(max_size=20)
)


def field(number: int, kind: int, content: bytes) -> bytes:
    return varint(number << 3 | kind) + content


def fields(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """One field of any number and kind; `inner` may be the content of one with a length."""
    number = st.one_of(st.integers(1, 12), st.sampled_from([0, 2**29 - 1]))
    lengthy = st.one_of(packed_floats, words, inner)
    return st.one_of(
        st.builds(lambda n, v: field(n, VARINT, varint(v)), number, integers),
        st.builds(lambda n, v: field(n, FIXED32, struct.pack("<f", v)), number, floats),
        st.builds(lambda n, v: field(n, FIXED64, struct.pack("<d", v)), number, st.one_of(floats, st.floats())),
        st.builds(lambda n, v: field(n, LENGTH, varint(len(v)) + v), number, lengthy),
        # One that says another length than it has, or more than any memory.
        st.builds(lambda n, v, said: field(n, LENGTH, varint(said) + v), number, lengthy, integers),
        st.builds(lambda n, v: field(n, GROUP, v) + field(n, END_OF_GROUP, b""), number, inner),
        st.builds(lambda n, kind: field(n, kind, b""), number, st.integers(0, 7)),
    )


messages = st.recursive(st.just(b""), lambda inner: st.lists(fields(inner), max_size=6).map(b"".join), max_leaves=12)


@st.composite
def mutated(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """One of some good messages with bytes replaced, taken away, put in or repeated."""
    body = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 8)))
        replacement = st.one_of(
            st.binary(max_size=8),
            st.just(bytes(body[begin:end]) * 2),
            floats.map(lambda value: struct.pack("<f", value)),
        )
        body[begin:end] = draw(replacement)
    return bytes(body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 9)) == 0 else body)


VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_FLOAT: floats,
    FieldDescriptor.CPPTYPE_DOUBLE: st.one_of(floats, st.floats()),
    FieldDescriptor.CPPTYPE_STRING: st.one_of(st.sampled_from(["", "coco17", "h36m17", "mpi17", "x" * 300]), st.text()),
    FieldDescriptor.CPPTYPE_UINT32: integers.map(lambda value: value % 2**32),
    FieldDescriptor.CPPTYPE_UINT64: integers,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


@st.composite
def altered(draw: st.DrawFn, good: Sequence[Message]) -> bytes:
    """One of some good messages in which fields have other values: well-formed, but hardly what was agreed."""
    message = type(chosen := draw(st.sampled_from(good)))()
    message.CopyFrom(chosen)
    for _ in range(draw(st.integers(1, 3))):
        part = message
        while inner := parts(part):
            if draw(st.booleans()):
                break
            part = draw(st.sampled_from(inner))
        described: list[Any] = list(part.DESCRIPTOR.fields)
        if not described:
            continue
        changed = draw(st.sampled_from(described))
        if changed.message_type is not None:
            part.ClearField(changed.name)
        elif changed.is_repeated:
            values = getattr(part, changed.name)
            kept = draw(st.integers(0, len(values)))
            values[kept:] = draw(st.lists(VALUES[changed.cpp_type], max_size=60))
        else:
            is_bytes = changed.type == FieldDescriptor.TYPE_BYTES
            setattr(part, changed.name, draw(st.binary() if is_bytes else VALUES[changed.cpp_type]))
    return message.SerializeToString()


def parts(message: Message) -> list[Message]:
    """The messages in a message."""
    found: list[Message] = []
    for described, value in message.ListFields():
        if described.message_type is not None:
            found += value if described.is_repeated else [value]
    return found


def noise(good: Sequence[Message]) -> st.SearchStrategy[bytes]:
    """Altered and mutated good messages, messages put together at random, and bytes that are nothing."""
    return st.one_of(
        altered(good),
        altered(good),
        mutated([message.SerializeToString() for message in good]),
        messages,
        st.binary(max_size=50),
    )
