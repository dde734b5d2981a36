"""The comparison of shown and printed answers notices what it should."""

import pytest

from tests.docs.answers import difference, matches_lines, parse_answer

PRINTED = {"code": "ok", "poses": [[0.0, 1.5], [2.0, 3.0], [4.0, 5.0]], "timing_ms": {"total": 3.2}}


@pytest.mark.parametrize(
    "shown",
    [
        '{"code": "ok", "poses": [[0.0, 1.5], [2.0, 3.0], [4.0, 5.0]], "timing_ms": {"total": 99}}',
        '{"code": "ok", "poses": [[0.0, ...], ...], "timing_ms": {"total": 99}}',
        '{"code": "ok", "poses": [...], "timing_ms": {"total": 99}}',
        '{"code": "ok", "poses": [[0.0001, 1.5], ...], "timing_ms": {"total": 99}}',
    ],
)
def test_a_shortened_answer_is_the_same(shown: str):
    assert difference(parse_answer(shown), PRINTED) is None


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        ('{"code": "no", "poses": [...], "timing_ms": {"total": 99}}', "$.code"),
        ('{"code": "ok", "poses": [[0.0, 1.6], ...], "timing_ms": {"total": 99}}', "$.poses[0][1]"),
        ('{"code": "ok", "poses": [[0.0, 1.5], [2.0, 3.0]], "timing_ms": {"total": 99}}', "$.poses"),
        ('{"code": "ok", "poses": [[0.0, 1.5, 9.0, ...], ...], "timing_ms": {"total": 99}}', "$.poses[0]"),
        ('{"code": "ok", "poses": [...], "timing_ms": {"queue": 99}}', "$.timing_ms"),
        ('{"code": "ok", "poses": [...]}', "$"),
        ('{"code": "ok", "poses": "many", "timing_ms": {"total": 99}}', "$.poses"),
    ],
)
def test_another_answer_is_told_with_its_place(shown: str, path: str):
    found = difference(parse_answer(shown), PRINTED)
    assert found is not None
    assert found.startswith(f"{path} ")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a@1 is intact\n", "a@1 is intact\n", True),
        ("a@1 is intact\n", "a@2 is intact\n", False),
        ("a@1 is intact\n", "a@1 is intact\nb@1 is intact\n", False),
        ("...\nb@1 is intact\n", "a@1 is intact\nb@1 is intact\n", True),
        ("a@... is intact\n", "a@17 is intact\n", True),
    ],
)
def test_lines_are_compared(shown: str, printed: str, same: bool):
    assert matches_lines(shown, printed) == same
