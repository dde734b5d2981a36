from dataclasses import replace

import pytest
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.sessions.session import Caller, Opening, identity_of, new_session_id, recommended_lookahead

from poselift.artifacts.manifest import Manifest
from poselift.skeletons import skeleton

OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)


@pytest.mark.parametrize("session_id", ["", "x", "0123456789abcdef", "0123456789abcdef-" + "0" * 31, "../" * 20])
def test_an_invalid_session_id_is_unknown(session_id: str):
    with pytest.raises(UnknownSession):
        identity_of(session_id, Caller())


@pytest.mark.parametrize("fps", [0.5, 241, float("nan"), float("inf")])
def test_a_frame_rate_outside_the_limits_is_refused(fps: float):
    with pytest.raises(InvalidRequest) as refusal:
        replace(OPENING, fps=fps)
    assert refusal.value.path == "fps"


def test_a_session_belongs_to_the_key_that_opened_it():
    one, other, nobody = Caller("one", "10.0.0.1"), Caller("other", "10.0.0.1"), Caller(None, "10.0.0.1")
    session_id = new_session_id("0123456789abcdef", "one")
    assert identity_of(session_id, one) == identity_of(session_id, nobody) == "0123456789abcdef"
    with pytest.raises(UnknownSession):
        identity_of(session_id, other)


def test_a_session_without_a_key_belongs_to_everybody():
    session_id = new_session_id("0123456789abcdef", None)
    assert {identity_of(session_id, Caller(key)) for key in (None, "one", "other")} == {"0123456789abcdef"}


def test_sessions_are_counted_by_key_or_by_address():
    assert Caller("one", "10.0.0.1").name == Caller("one", "10.0.0.2").name != Caller(None, "one").name


@pytest.mark.parametrize(("fps", "frames"), [(50, 15), (30, 9), (None, 9)])
def test_a_session_waits_for_what_suits_its_network(manifest: Manifest, fps: float | None, frames: int):
    opening = replace(OPENING, fps=fps, lookahead=None)
    whole_windows = manifest.model_copy(update={"system": "pstmo-sequence"})
    assert recommended_lookahead(whole_windows, opening) == frames  # 0.3 s; at no fixed rate, of the usual 30
    assert recommended_lookahead(manifest, opening) == "full"
