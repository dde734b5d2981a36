"""Pickles as data: what NumPy pickles is read, and nothing that a pickle names is run."""

import os
import pickle
import pickletools
import struct
from collections import OrderedDict

import numpy as np
import pytest

from poselift.errors import InvalidFile
from poselift.formats.readers.archives.pickled import load_pickled

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.array([True, False]),
    np.array(["left", "r"]),
    np.zeros((0, 17, 2)),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=[f"{array.dtype}-{array.ndim}" for array in ARRAYS])
def test_arrays_of_every_protocol(array, protocol):
    read, again = load_pickled(pickle.dumps([array, array], protocol))
    assert read is again
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol(protocol):
    values = {"a": [1, -(2**70), 2.5, True, None], 7: ("left", "ü", b"bytes", b""), "inner": {"empty": [{}, (), []]}}
    assert load_pickled(pickle.dumps(values, protocol)) == values
    assert load_pickled(pickle.dumps([np.float64(2.5), OrderedDict(a=1)], protocol)) == [2.5, {"a": 1}]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_array_of_objects(protocol):
    read = load_pickled(pickle.dumps(np.array({"clip": [np.ones((2, 3))]}, dtype=object), protocol))
    assert read.shape == ()
    np.testing.assert_array_equal(read.item()["clip"][0], np.ones((2, 3)))


class Calls:
    """An object whose pickle calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class WithState:
    pass


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("called", [os.system, os.mkdir, eval, exec, print, getattr, np.load, np.fromfile])
def test_nothing_that_a_pickle_names_is_called(tmp_path, called, protocol):
    witness = tmp_path / "witness"
    argument = {os.system: f"touch {witness}", os.mkdir: str(witness)}.get(called, f"open({str(witness)!r}, 'w')")
    content = pickle.dumps({"a": [Calls(called, argument)]}, protocol)
    with pytest.raises(InvalidFile, match="it holds a pickle that calls"):
        load_pickled(content)
    assert not witness.exists()


@pytest.mark.parametrize("content", [WithState(), WithState, {1, 2}, 3j, range(3), np.array([3j])])
def test_other_objects_are_refused(content):
    with pytest.raises(InvalidFile, match="it holds a"):
        load_pickled(pickle.dumps(content))


def short_text(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


# A function of NumPy that is allowed by name, called with what it must not be called with.
RECONSTRUCT = short_text("numpy.core.multiarray") + short_text("_reconstruct") + b"\x93"
DTYPE = short_text("numpy") + short_text("dtype") + b"\x93" + short_text("f8") + b"\x85R"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"\x80\x04.",
        b"\x80\x04]",
        b"\x80\x04a.",
        b"\x80\x04h\x07.",
        b"\x80\x04]K\x01K\x02s.",
        b"\x80\x04" + RECONSTRUCT + short_text("os") + b"\x85R.",
        b"\x80\x04" + RECONSTRUCT + RECONSTRUCT + b"\x85R.",
        b"\x80\x04" + DTYPE.replace(b"f8", b"O,") + b".",
        b"\x80\x04" + DTYPE + b"}b.",
        b"\x80\x04" + RECONSTRUCT + b"}b.",
        b"\x80\x04cos\nsystem\n.",
        b"\x80\x04" + short_text("os") + short_text("system") + b"\x93.",
        b"\x80\x04" + short_text("numpy") + short_text("dtype.type.mro") + b"\x93.",
        b"\x82\x01.",
        b"Pa\n.",
        b"(i" + b"os\nsystem\n.",
        pickle.dumps(ARRAYS[0])[:-40],
    ],
)
def test_broken_and_hostile_pickles_are_refused(content):
    with pytest.raises(InvalidFile, match="it holds a") as refusal:
        load_pickled(content)
    assert "\n" not in str(refusal.value)


def test_a_place_in_the_memo_takes_no_memory():
    assert load_pickled(b"\x80\x04]r" + struct.pack("<I", 2**32 - 1) + b".") == []


def test_one_long_list_named_many_times(monkeypatch):
    """An array of objects copies the list that it is built of: within a limit over the whole pickle."""
    objects = [None] * 1000
    one = np.array(objects, dtype=object)
    content = pickle.dumps([one.copy() for _ in range(3)], 4)
    assert len(load_pickled(content)) == 3
    monkeypatch.setattr("poselift.formats.readers.archives.pickled.MAX_BYTES", 8 * 2000)
    with pytest.raises(InvalidFile, match="unpacks to too much"):
        load_pickled(content)


@pytest.mark.parametrize("limit", ["MAX_BYTES", "_MAX_INSTRUCTIONS"])
def test_limits(monkeypatch, limit):
    content = pickle.dumps(list(range(1000)))
    monkeypatch.setattr(f"poselift.formats.readers.archives.pickled.{limit}", 100)
    with pytest.raises(InvalidFile, match="more than"):
        load_pickled(content)


def test_an_array_is_as_large_as_its_bytes():
    claimed = pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85")
    assert any(argument == 2**31 - 1 for _, argument, _ in pickletools.genops(claimed))
    with pytest.raises(InvalidFile, match="cut off or broken"):
        load_pickled(claimed)
