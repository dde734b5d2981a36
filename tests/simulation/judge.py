"""Compares the answers to clients with the states that the sessions had while the answers were made."""

import asyncio
from dataclasses import dataclass

from poselift_service.errors import (
    DeadlineExceeded,
    EngineFailed,
    NotReady,
    Overloaded,
    ServiceError,
    SessionConflict,
    SessionStoreDown,
    UnknownSession,
)
from poselift_service.pipeline.live import LivePoses

from tests.simulation.frames import Expectation, Seen, Source, same, seen_in
from tests.simulation.replica import Replica
from tests.simulation.sequential_store import SequentialStore, State
from tests.simulation.simulated_redis import Network
from tests.simulation.violation import require

TIMEOUT_S = 1.0
# A call may wait for messages that were sent before it, and these for their own timeouts.
_FAULTS_LAST_S = 4 * TIMEOUT_S


@dataclass(frozen=True)
class Request:
    """What a client asks of a session, and when; to end it, if there are no frames.

    Attributes:
        sent: how many frames there were, said at the end.
        step: of the store, at the beginning of the call.
    """

    session_id: str
    source: Source
    frames: range
    sent: int | None
    began_s: float
    deadline_s: float
    step: int

    @property
    def ends(self) -> bool:
        return not self.frames


class Judge:
    """Knows what is right."""

    def __init__(self, store: SequentialStore, network: Network | None) -> None:
        self._store = store
        self._network = network
        self._answered: dict[tuple[str, int, int], list[Seen]] = {}
        self.expectations: dict[str, Expectation] = {}

    def check_poses(self, request: Request, poses: LivePoses) -> None:
        """Check an answer: its poses, and the copy of the session that came with it."""
        states = self._states(request)
        fitting = [state for state in states if state and self._holds(request, state, poses)]
        require(fitting, "an answer fits no state of its session", request, poses.targets, poses.session.frames.stop)
        if not len(poses.targets):
            return
        expectation, state = self.expectations[request.session_id], fitting[0]
        x, y, z = poses.lifted.joints.transpose(2, 0, 1).tolist()
        for row, target in enumerate(poses.targets):
            expected = expectation.pose(state, target)
            count = len(expected.frames)
            seen = list(zip(x[row][:count], y[row][:count], strict=True))
            marks = set(z[row])
            require(marks == {expected.mark}, "a window was lifted by another version", request, expected.mark, marks)
            require(same(seen, expected.frames), "a pose of other frames", request, target, seen, expected.frames)
            is_same = poses.future_frames[row] == expected.future
            require(is_same, "another lookahead", request, target, poses.future_frames)
            self._check_again(request, target, expected.future, seen)

    def check_error(self, request: Request, replica: Replica, error: ServiceError) -> None:
        """Check that an error has a cause."""
        identity = request.session_id.partition("-")[0]
        now_s = asyncio.get_running_loop().time()
        states = self._states(request)
        match error:
            case UnknownSession():
                lost = any(
                    state is None or not state.is_readable(now_s, include_ended=request.frames.stop <= state.next_index)
                    for state in states
                )
                is_elsewhere = self._network is None and not replica.serves(identity)
                require(lost or is_elsewhere, "a living session is unknown", request)
            case SessionConflict():
                about = [state for state in states if state and state.next_index == error.expected_frame_index]
                require(about, "a conflict names another index", request, error.expected_frame_index)
                require(any(self._conflicts(request, state) for state in about), "no conflict", request)
            case SessionStoreDown():
                failed_s = self._network.faults.last_s if self._network else float("-inf")
                require(failed_s >= request.began_s - _FAULTS_LAST_S, "a healthy store is down", request)
            case NotReady():
                require(replica.is_stopping or not replica.serves(identity), "a replica is not ready", request)
            case Overloaded() | DeadlineExceeded() | EngineFailed():
                pass  # the watched batcher has checked it
            case _:
                require(False, "an error of a kind that cannot be", request, error)

    def check_stored(self, session_id: str, sources: list[Source]) -> None:
        """Check that a session holds what was sent, with missing joints held at their last position."""
        state, before = self._store.state(session_id), None
        for index, entry in enumerate(state.entries if state else ()):
            seen = seen_in(entry)
            sent = [self.expectations[session_id].stored(source.content(index), before) for source in sources]
            require(any(same([seen], [one]) for one in sent), "a frame that nobody sent", session_id, index, seen)
            before = seen

    def _states(self, request: Request) -> list[State | None]:
        return self._store.states_since(request.session_id, request.step)

    def _holds(self, request: Request, state: State, poses: LivePoses) -> bool:
        """Whether an answer is about a state: its copy is the state's, and it has the right targets."""
        lookahead, frames = self.expectations[request.session_id].lookahead, poses.session.frames
        if frames.stop != state.next_index or frames.start < state.kept_first:
            return False
        stored = [seen_in(entry)[0] for entry in state.entries[frames.start :]]
        if frames.screen[:, 0, 0].tolist() != stored:
            return False
        if request.ends:
            require(request.sent is None or frames.stop >= request.sent, "a session has ended too early", request)
            return poses.targets == range(max(0, state.next_index - lookahead), state.next_index)
        first, stop = request.frames.start, request.frames.stop
        sent = [request.source.content(index)[0] for index in request.frames]
        is_stored = [seen_in(entry)[0] for entry in state.entries[first:stop]] == sent
        return is_stored and poses.targets == range(max(0, first - lookahead), max(0, stop - lookahead))

    def _conflicts(self, request: Request, state: State) -> bool:
        if request.ends:
            return request.sent is not None and state.next_index < request.sent
        first = request.frames.start
        if state.rejects_position(first, self.expectations[request.session_id].needed_before):
            return True
        sent = [request.source.content(index)[0] for index in request.frames]
        return any(seen_in(entry)[0] != one for entry, one in zip(state.entries[first:], sent, strict=False))

    def _check_again(self, request: Request, target: int, future: int, seen: list[Seen]) -> None:
        """Check that a target has one answer, unless the store has lost the frames of the first one."""
        if not self._store.rewinds:
            first = self._answered.setdefault((request.session_id, target, future), seen)
            require(same(first, seen), "a frame was lifted twice, with different answers", request, target, first, seen)
