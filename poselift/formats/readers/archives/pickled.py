"""Read the data of a pickle without running it.

A pickle is a program: loading one imports and calls what it names. Here its instructions only put together
dictionaries, lists, tuples, texts, numbers and arrays; an instruction or a name beyond those is refused. Nothing is
imported or called because a file says so.
"""

import math
import pickletools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poselift.errors import InvalidFile

MAX_BYTES = 256 * 2**20
"""Of one pickle: the keypoints of a million frames."""
_MAX_INSTRUCTIONS = 3_000_000
"""An instruction can make at most an empty dictionary, 64 bytes."""
_MAX_KEY = 10**6
"""Numbers up to here are keys: larger ones could be chosen so that a dictionary needs hours for them."""
_MAX_AXES = 8

_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_DTYPE = re.compile(r"[<>=|]?(?:[biu][1248]|f[248]|[US]\d{1,4}|O8?)")


def load_pickled(content: bytes) -> Any:
    """The value that a pickle of any protocol would make, if that is data.

    Raises:
        InvalidFile: it is no pickle, is too large, or needs something that is no data; the message names it.
    """
    if len(content) > MAX_BYTES:
        raise InvalidFile(f"its pickle has {len(content)} bytes, more than the {MAX_BYTES} that are read.")
    with _translated():
        return _Machine().run(content)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate what a broken pickle makes `pickletools`, NumPy and our stack raise, which has no class in common."""
    try:
        yield
    except InvalidFile:
        raise
    except Exception as error:
        raise InvalidFile("it holds a pickle that is cut off or broken.") from error


class _Name(NamedTuple):
    """What a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:80]


@dataclass
class _Dtype:
    """The type of an array's numbers; its byte order follows as a state."""

    text: str
    byte_order: str = ""

    def __post_init__(self) -> None:
        if not _DTYPE.fullmatch(self.text):
            raise InvalidFile(f"it holds an array of type {self.text[:20]!r}; arrays of numbers or texts are read.")

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.byte_order + self.text.lstrip("<>=|"))


@dataclass
class _Unfinished:
    """An array before its content, and the places in the memo that it takes."""

    memo_keys: list[int] = field(default_factory=list)


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._elements = 0

    def run(self, content: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count == _MAX_INSTRUCTIONS:
                raise InvalidFile(f"it holds a pickle of more than {_MAX_INSTRUCTIONS} values.")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise InvalidFile("it holds a pickle that is cut off.")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise InvalidFile(f"it holds a pickle with the instruction {name}, which makes no plain data.")

    def _above_mark(self) -> list[Any]:
        first = self._marks.pop()
        values = self._stack[first:]
        del self._stack[first:]
        return values

    def _top(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError(count)
        values = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return values

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._above_mark()

    def empty_list(self, _: Any) -> None:
        self._stack.append([])

    def empty_tuple(self, _: Any) -> None:
        self._stack.append(())

    def empty_dict(self, _: Any) -> None:
        self._stack.append({})

    def list_of(self, _: Any) -> None:
        self._stack.append(self._above_mark())

    def tuple_of(self, _: Any) -> None:
        self._stack.append(tuple(self._above_mark()))

    def tuple_of_top(self, count: int) -> None:
        self._stack.append(tuple(self._top(count)))

    def dict_of(self, _: Any) -> None:
        pairs = self._above_mark()
        self._stack.append({})
        self._set(pairs)

    def append(self, _: Any) -> None:
        self._extend(self._top(1))

    def appends(self, _: Any) -> None:
        self._extend(self._above_mark())

    def set_item(self, _: Any) -> None:
        self._set(self._top(2))

    def set_items(self, _: Any) -> None:
        self._set(self._above_mark())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError(type(self._stack[-1]))
        self._stack[-1].extend(values)

    def _set(self, pairs: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise TypeError(type(self._stack[-1]))
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str) and not (isinstance(key, int) and 0 <= key <= _MAX_KEY):
                raise InvalidFile(f"it holds a dictionary with a key that is no text: {key!r:.40}.")
            self._stack[-1][key] = value

    def put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]
        if isinstance(self._stack[-1], _Unfinished):
            self._stack[-1].memo_keys.append(key)

    def memoize(self, _: Any) -> None:
        self.put(len(self._memo))

    def get(self, key: int) -> None:
        self._stack.append(self._memo[key])

    def name(self, argument: str) -> None:
        self._stack.append(_known(*argument.split(" ", 1)))

    def name_of_top(self, _: Any) -> None:
        self._stack.append(_known(*self._top(2)))

    def call(self, _: Any) -> None:
        called, arguments = self._top(2)
        self._stack.append(self._made(called, arguments))

    def _made(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise TypeError(type(called))
        match called.name, arguments:
            case "_reconstruct", (_Name(name="ndarray"), *_):
                return _Unfinished()
            case "dtype", (str(text), *_):
                return _Dtype(text)
            case "scalar", (_Dtype() as dtype, bytes() | str() as content):
                return self._array((), dtype, content, fortran=False).item()
            case "_frombuffer", (bytes() | bytearray() as content, _Dtype() as dtype, tuple(shape), str(order)):
                return self._array(shape, dtype, content, fortran=order == "F")
            case "encode", (str(text), "latin1" | "latin-1"):
                self._spend(len(text))
                return text.encode("latin-1")
            case "bytes", ():
                return b""
            case "OrderedDict" | "defaultdict", _:
                return {}
        raise TypeError(called.name)

    def build(self, _: Any) -> None:
        built, state = self._top(2)
        match built, state:
            case _Dtype(), (_, str(byte_order), *_):
                built.byte_order = byte_order if byte_order in ("<", ">") else ""
                self._stack.append(built)
            case _Unfinished(), (_, tuple(shape), _Dtype() as dtype, bool(fortran) | int(fortran), content):
                array = self._array(shape, dtype, content, fortran=bool(fortran))
                self._memo.update(dict.fromkeys(built.memo_keys, array))
                self._stack.append(array)
            case _:
                raise TypeError(type(built))

    def _array(self, shape: tuple[Any, ...], dtype: _Dtype, content: Any, *, fortran: bool) -> NDArray[Any]:
        """An array over the bytes of the pickle, or of the values in a list."""
        if len(shape) > _MAX_AXES or not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError(shape)
        count, kind = math.prod(shape), dtype.numpy()
        array: NDArray[Any]
        if kind.hasobject:
            self._spend(len(content))
            array = np.empty(len(content), dtype=object)
            for index, value in enumerate(content):
                array[index] = value
        else:
            content = content.encode("latin-1") if isinstance(content, str) else content
            array = np.frombuffer(content, dtype=kind) if count else np.empty(0, dtype=kind)
        if len(array) != count:
            raise ValueError(shape)
        return array.reshape(shape, order="F" if fortran else "C")

    def _spend(self, elements: int) -> None:
        """Count what is copied: a pickle can name one long list many times."""
        self._elements += elements
        if self._elements > MAX_BYTES // 8:
            raise InvalidFile("it holds a pickle that unpacks to too much.")


# What arrays are pickled as, by NumPy 1 and 2, under Python 2 and 3.
_NAMES = frozenset(
    f"{module}.{name}"
    for modules, names in (
        ("numpy.core.multiarray numpy._core.multiarray", "_reconstruct scalar"),
        ("numpy.core.numeric numpy._core.numeric", "_frombuffer"),
        ("numpy", "ndarray dtype"),
        ("_codecs", "encode"),
        ("collections", "OrderedDict defaultdict"),
        ("builtins __builtin__", "bytes list dict int float"),
    )
    for module in modules.split()
    for name in names.split()
)


def _known(module: Any, name: Any) -> _Name:
    found = _Name(str(module), str(name))
    if f"{module}.{name}" not in _NAMES:
        raise InvalidFile(
            f"it holds a pickle that calls {found}; only dictionaries, lists, texts, numbers and arrays are read from "
            "a pickle. Save plain arrays instead: np.savez(path, keypoints=...) with [frames, joints, 2 or 3]."
        )
    return found


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_TUPLE": _Machine.empty_tuple,
    "EMPTY_DICT": _Machine.empty_dict,
    "LIST": _Machine.list_of,
    "TUPLE": _Machine.tuple_of,
    "TUPLE1": lambda machine, _: machine.tuple_of_top(1),
    "TUPLE2": lambda machine, _: machine.tuple_of_top(2),
    "TUPLE3": lambda machine, _: machine.tuple_of_top(3),
    "DICT": _Machine.dict_of,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_of_top,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
