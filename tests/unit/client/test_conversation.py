"""The reconnect protocol against a model of the server that loses connections, frames and sessions at any moment."""

import itertools
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poselift.client.answers import InputWarning, Pose, StreamAnswer
from poselift.client.arrays import FrameList
from poselift.client.conversation import KEPT_FRAMES, MAX_UNANSWERED, Conversation, FrameMessage, Message, Recovery
from poselift.client.errors import ApiError, unreachable
from tests.unit.client.session_model import SessionModel

FULL_LOOKAHEAD = 4
CONTEXT = 2 * FULL_LOOKAHEAD

# What happens in place of the next answer, by the number of the step: a cut after some messages have arrived, a loss.
Fault = tuple[str, int]
FAULTS = st.dictionaries(
    st.integers(0, 120),
    st.one_of(
        st.tuples(st.just("cut"), st.integers(0, MAX_UNANSWERED)),
        st.tuples(st.just("lose"), st.integers(1, 20)),
        st.just(("expire", 0)),
    ),
    max_size=20,
)
# A stream gives up after one more without an answer between them.
MOST_LOSSES = 5


def frame(number: int) -> FrameList:
    return [[float(number), 0.0, 1.0]]


class Link:
    """A stream and its server, with what is on the way between them."""

    def __init__(self, lookahead: int, faults: dict[int, Fault]) -> None:
        self.conversation = Conversation()
        self.server = SessionModel(FULL_LOOKAHEAD, lookahead)
        self._faults = faults
        self._steps = itertools.count()
        self._losses = 0
        self._on_the_way: deque[Message] = deque()
        self.conversation.begin_session(CONTEXT)
        self.conversation.begin_connection()

    def exchange(self, most_unanswered: int) -> list[Pose]:
        while True:
            while (message := self.conversation.next_message()) is not None:
                self._on_the_way.append(message)
            assert len(self._on_the_way) <= MAX_UNANSWERED
            if self.conversation.unanswered <= most_unanswered:
                return self.conversation.take_poses()
            self._step()

    def _step(self) -> None:
        kind, number = self._faults.get(next(self._steps), ("none", 0))
        if kind in ("lose", "expire"):
            self._losses += 1
            kind = kind if self._losses <= MOST_LOSSES else "none"
        try:
            if kind == "lose":
                self.server.lose(number)
            elif kind == "expire":
                self.server.expire()
            elif kind == "cut":
                for message in list(self._on_the_way)[:number]:
                    self.server.answer(message)
                raise unreachable("cut")
            else:
                self.conversation.take_answer(self.server.answer(self._on_the_way.popleft()))
                self._losses = 0
        except ApiError as error:
            if self.conversation.take_error(error) is Recovery.REOPEN:
                self.server.open()
                self.conversation.begin_session(CONTEXT)
            self._on_the_way.clear()
            self.conversation.begin_connection()


def time_s(number: int) -> float:
    return 1e9 + number / 30 + 0.01 * (number % 3)


def stream(count: int, lookahead: int, ahead: int, faults: dict[int, Fault], *, timed: bool = False) -> list[Pose]:
    """The poses of a stream of so many frames."""
    link, poses = Link(lookahead, faults), []
    for number in range(count):
        link.conversation.add_frame(frame(number + 1), time_s(number) if timed else None)
        poses += link.exchange(ahead - 1)
    link.conversation.add_end()
    poses += link.exchange(0)
    assert link.conversation.has_ended
    return poses


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(0, 60),
    lookahead=st.integers(0, FULL_LOOKAHEAD),
    ahead=st.integers(1, MAX_UNANSWERED),
    faults=FAULTS,
    timed=st.booleans(),
)
def test_whatever_is_lost_each_frame_has_its_pose_once_and_in_order(
    count: int, lookahead: int, ahead: int, faults: dict[int, Fault], timed: bool
):
    assert stream(count, lookahead, ahead, faults, timed=timed) == stream(count, lookahead, 1, {}, timed=timed)


def test_no_more_than_the_promised_number_of_messages_is_without_an_answer():
    conversation = Conversation()
    for number in range(2 * MAX_UNANSWERED):
        conversation.add_frame(frame(number))
    sent = [conversation.next_message() for _ in range(2 * MAX_UNANSWERED)]
    assert sum(message is not None for message in sent) == MAX_UNANSWERED


def test_frames_are_sent_again_unchanged_and_from_the_first_without_an_answer():
    conversation = Conversation()
    for number in range(3):
        conversation.add_frame(frame(number), time_s(number))
    first = [conversation.next_message() for _ in range(3)]
    assert first == [FrameMessage(number, frame(number), time_s(number)) for number in range(3)]
    conversation.take_answer(StreamAnswer([], []))
    assert conversation.take_error(unreachable("cut")) is Recovery.RECONNECT
    conversation.begin_connection()
    assert [conversation.next_message() for _ in range(2)] == first[1:]


def answered(count: int) -> Conversation:
    """A stream of frames that all have answers, and one that was just sent."""
    conversation = Conversation()
    for number in range(count + 1):
        conversation.add_frame(frame(number))
        conversation.next_message()
        if number < count:
            conversation.take_answer(StreamAnswer([], []))
    return conversation


def conflict(expected: int) -> ApiError:
    return ApiError("session_conflict", "Another frame is expected.", expected_frame_index=expected)


def test_a_store_that_finds_lost_frames_again_is_followed_forwards():
    conversation = answered(10)
    conversation.take_error(conflict(3))
    conversation.begin_connection()
    message = conversation.next_message()
    assert isinstance(message, FrameMessage)
    assert message.frame_index == 3
    conversation.take_error(conflict(8))
    conversation.begin_connection()
    message = conversation.next_message()
    assert isinstance(message, FrameMessage)
    assert message.frame_index == 8


def test_another_sender_of_the_same_session_ends_the_stream():
    with pytest.raises(ApiError, match="session_conflict"):
        answered(10).take_error(conflict(12))


def test_frames_that_are_no_longer_kept_cannot_be_sent_again():
    conversation = answered(KEPT_FRAMES + 50)
    with pytest.raises(ApiError, match="session_conflict"):
        conversation.take_error(conflict(10))
    assert answered(KEPT_FRAMES + 50).take_error(conflict(60)) is Recovery.RECONNECT


@pytest.mark.parametrize("code", ["not_ready", "overloaded", "session_store_down", "stream_idle", "unreachable"])
def test_what_passes_is_waited_for(code: str):
    conversation = answered(1)
    for _ in range(100):
        assert conversation.take_error(ApiError(code, "Later.")) is Recovery.RECONNECT


@pytest.mark.parametrize("code", ["deadline_exceeded", "engine_failed", "unknown_session"])
def test_what_may_never_end_is_tried_a_few_times(code: str):
    conversation = answered(1)
    for _ in range(5):
        conversation.take_error(ApiError(code, "It failed."))
    with pytest.raises(ApiError, match=code):
        conversation.take_error(ApiError(code, "It failed."))


@pytest.mark.parametrize("code", ["invalid_request", "unauthenticated", "body_too_large", "a_new_one"])
def test_what_does_not_pass_ends_the_stream(code: str):
    with pytest.raises(ApiError, match=code):
        answered(1).take_error(ApiError(code, "No."))


def test_an_answer_to_nothing_is_no_answer():
    with pytest.raises(ApiError, match="unexpected_answer"):
        Conversation().take_answer(StreamAnswer([], []))


def test_warnings_are_kept_once_per_code():
    conversation = answered(0)
    first, second = InputWarning("upside_down", "One."), InputWarning("upside_down", "Two.")
    conversation.take_answer(StreamAnswer([], [first, second]))
    assert conversation.warnings == [first]
