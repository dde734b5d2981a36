"""How many sessions a replica takes: in total, from one caller, and by the frames that they may keep."""

import pytest
from poselift_service.errors import Overloaded
from poselift_service.sessions.copies import RESENDABLE_FRAMES, SessionCopies, SessionLimits
from poselift_service.sessions.session import Opening, Session

from poselift.artifacts.manifest import Manifest
from poselift.live_window import KeptFrames, LiveWindow
from poselift.skeletons import skeleton

TTL_S = 100.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def copies_of(clock: Clock, limits: SessionLimits) -> SessionCopies:
    return SessionCopies(limits, ttl_s=TTL_S, observe=lambda event: None, clock=clock)


def session(number: int, manifest: Manifest) -> Session:
    opening = Opening(skeleton("coco17"), 640, 480, fps=50, lookahead=1)
    return Session(str(number), opening, manifest, LiveWindow.of(manifest, 50, 1), KeptFrames.none(manifest), b"")


def test_one_caller_cannot_have_all_sessions(clock: Clock, manifest: Manifest):
    copies = copies_of(clock, SessionLimits(10, per_caller=2))
    for number in range(2):
        copies.admit("one")
        copies.put(session(number, manifest), "one")
    copies.put(copies.get("0") or session(0, manifest))  # used again, which counts nothing
    with pytest.raises(Overloaded, match=r"setting max_sessions_per_caller"):
        copies.admit("one")
    copies.admit("other")
    assert copies.drop("0")
    copies.admit("one")
    copies.put(session(2, manifest), "one")
    clock.now += TTL_S
    copies.admit("one")
    assert len(copies) == 0


@pytest.mark.parametrize("message_frames", [1, 256])
def test_sessions_are_counted_with_the_frames_that_they_may_keep(clock: Clock, manifest: Manifest, message_frames: int):
    each = session(0, manifest).window.needed_before + max(message_frames, RESENDABLE_FRAMES)
    copies = copies_of(clock, SessionLimits(100, frames=3 * each, message_frames=message_frames))
    for number in range(3):
        copies.admit("one")
        copies.put(session(number, manifest), "one")
    with pytest.raises(Overloaded, match=r"setting max_session_frames"):
        copies.admit("other")
    copies.drop("1")
    copies.admit("other")


def test_a_refusal_says_when_the_first_session_expires(clock: Clock, manifest: Manifest):
    copies = copies_of(clock, SessionLimits(1))
    copies.put(session(0, manifest), "one")
    clock.now += 60
    with pytest.raises(Overloaded, match=r"setting max_sessions\b") as refusal:
        copies.admit("one")
    assert refusal.value.retry_after_s == 40
