"""Compares what a command printed with what a document says it prints."""

import json
import math
import re
from typing import Any

OMITTED = "..."
# Another processor rounds otherwise.
SAME_NUMBER = 2e-4


def parse_answer(text: str) -> Any:
    """Parse JSON in which a bare `...` stands for omitted elements of an array, as a text of three dots."""
    return json.loads(re.sub(r"(?<=[\[,\s])\.\.\.(?=[\s,\]])", f'"{OMITTED}"', text))


def difference(expected: Any, found: Any, path: str = "$") -> str | None:
    """Say in a sentence where an answer differs from the one that is shown; None where it does not.

    Numbers below `timing_ms` differ from run to run, and only have to be there.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            return f"{path} has the keys {sorted(found)}, not {sorted(expected)}"
        return _first(difference(value, found[key], f"{path}.{key}") for key, value in expected.items())
    if isinstance(expected, list) and isinstance(found, list):
        shown = expected[:-1] if expected and expected[-1] == OMITTED else expected
        if len(shown) > len(found) or (shown is expected and len(shown) != len(found)):
            return f"{path} has {len(found)} elements, not {len(shown)}"
        return _first(difference(value, found[at], f"{path}[{at}]") for at, value in enumerate(shown))
    if _is_number(expected) and _is_number(found):
        same = ".timing_ms." in path or math.isclose(expected, found, rel_tol=SAME_NUMBER, abs_tol=SAME_NUMBER)
        return None if same else f"{path} is {found}, not {expected}"
    return None if expected == found else f"{path} is {found!r}, not {expected!r}"


def matches_lines(expected: str, found: str) -> bool:
    """Compare lines of output; `...` stands for any text within a line, or alone for any lines."""
    pattern = "".join(_pattern(line) for line in expected.rstrip("\n").split("\n"))
    return re.fullmatch(pattern, found.rstrip("\n") + "\n") is not None


def _pattern(line: str) -> str:
    if line.strip() == OMITTED:
        return r"(?:.*\n)*"
    return ".*".join(re.escape(part) for part in line.rstrip().split(OMITTED)) + r"[ \t]*\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(differences: Any) -> str | None:
    return next((found for found in differences if found is not None), None)
