"""Choosing one of several people."""

import numpy as np
import pytest

from poselift.errors import UnknownPerson
from poselift.person_choice import CHOICES, Presence, choose, presence_of

NAMES = ["7", "8", "9"]
# Large for a moment, seen most often, there first.
PRESENCES = [Presence(5, 900.0, 3), Presence(20, 500.0, 2), Presence(10, 400.0, 0)]


@pytest.mark.parametrize(
    ("choice", "chosen"), [("all", [0, 1, 2]), ("largest", [0]), ("longest", [1]), ("first", [2]), ("8", [1])]
)
def test_choices(choice, chosen):
    assert choose(choice, NAMES, PRESENCES) == chosen


@pytest.mark.parametrize("choice", sorted(set(CHOICES) - {"all"}))
def test_the_first_of_equals(choice):
    assert choose(choice, NAMES, [PRESENCES[0]] * 3) == [0]


def test_a_name_that_nobody_has():
    with pytest.raises(UnknownPerson, match="no person '10'; there are 7, 8, 9, and all, largest, ") as refused:
        choose("10", NAMES, PRESENCES)
    assert refused.value.path == "person_choice"
    many = [str(number) for number in range(1000)]
    with pytest.raises(UnknownPerson, match="8, 9 and 990 more, and all"):
        choose("nobody", many, [PRESENCES[0]] * 1000)


def test_presence():
    keypoints = np.full((6, 3, 3), np.nan)
    keypoints[2:4] = [[10, 20, 1], [14, 20, 1], [10, 50, 1]]
    keypoints[4, 0] = (10, 20, 1)
    assert presence_of(keypoints) == Presence(3, 2 * 4 * 30, 2)
    assert presence_of(keypoints[:2]) == Presence(0, 0, 2)
