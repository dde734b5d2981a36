"""Which states of a session's motion in the world are kept, and where it is continued.

Motion in the world of a frame depends on all frames before it. So after each message its state is kept beside the
frames: any replica continues from there. For frames that are sent again, states at multiples of `EVERY_FRAMES` are kept
too, as far back as frames may be sent again; poses from there on are lifted once more. A state is a pure function of
the frames before its index, so whoever computes it, and however often, gets the same.
"""

from collections.abc import Mapping
from dataclasses import replace

from poselift_service.sessions.session import Session
from poselift_service.sessions.store import MotionStates

EVERY_FRAMES = 16
"""Frames from one state to the next; a state takes about as much space as eight frames."""


def continued_from(session: Session, first: int) -> int | None:
    """The frame index whose state is the newest from which frames from `first` on can be put into the world.

    Returns:
        None if there is none among those of this copy, or frames that are needed have been dropped.
    """
    # Before the first frame there is nothing to know.
    indices = sorted((index for index in {0, *session.motion} if index <= first), reverse=True)
    return next((index for index in indices if _are_frames_kept(session, index)), None)


def _are_frames_kept(session: Session, index: int) -> bool:
    """Whether a copy has the frames that poses from a state on are lifted from."""
    return max(0, session.window.needed_from(index, session.frames)) >= session.frames.start


def with_motion(session: Session, kept: Mapping[int, bytes]) -> Session:
    """A copy with the states that the store keeps, as far as they are of its frames."""
    of_frames = {index: state for index, state in kept.items() if index <= session.next_frame_index}
    return replace(session, motion=of_frames)


def with_states(session: Session, new: MotionStates) -> Session:
    """A copy with new states, and without those that are no longer needed."""
    kept = {index: state for index, state in session.motion.items() if not new.replaces(index)}
    return replace(session, motion={**kept, **new.states})


def oldest_state(first: int, stop: int, resendable: int) -> int:
    """Index of the oldest state that is needed after a message, so that it, or its last frames, can be sent again.

    Args:
        first, stop: its frames.
        resendable: how many frames of several messages may be sent again.
    """
    return _rounded(min(first, stop - resendable))


def kept_indices(begin: int, first: int, stop: int, resendable: int) -> list[int]:
    """Indices of the states to keep after a message, in order.

    Args:
        begin: index of the state that its motion was continued from.
        first, stop, resendable: as for `oldest_state`.
    """
    in_message = range(max(_rounded(stop - resendable), begin + 1), stop)
    multiples = {index for index in (_rounded(first), *in_message) if index % EVERY_FRAMES == 0 and index > begin}
    return [*sorted(multiples), stop]


def _rounded(index: int) -> int:
    return max(0, index - index % EVERY_FRAMES)
