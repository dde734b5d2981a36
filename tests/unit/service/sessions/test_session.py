from dataclasses import replace

import pytest
from poselift_service.errors import InvalidRequest, UnknownSession
from poselift_service.sessions.session import Opening, identity_of

from poselift.skeletons import skeleton

OPENING = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)


@pytest.mark.parametrize("session_id", ["", "x", "0123456789abcdef", "0123456789abcdef-" + "0" * 31, "../" * 20])
def test_an_invalid_session_id_is_unknown(session_id: str):
    with pytest.raises(UnknownSession):
        identity_of(session_id)


@pytest.mark.parametrize("fps", [0.5, 241, float("nan"), float("inf")])
def test_a_frame_rate_outside_the_limits_is_refused(fps: float):
    with pytest.raises(InvalidRequest) as refusal:
        replace(OPENING, fps=fps)
    assert refusal.value.path == "fps"
