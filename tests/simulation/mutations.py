"""Bugs that are planted to see whether the simulation finds them. Each replaces one method of the real code."""

import contextlib
from collections.abc import Callable
from unittest import mock

import numpy as np
from poselift_service.inference.models import Model, ServedModels
from poselift_service.inference.queue import Entry, EntryResult

from poselift.live_window import KeptFrames

_find_by_identity, _succeed = ServedModels.find_by_identity, Entry.succeed


def reply_applied_twice() -> contextlib.AbstractContextManager[object]:
    """Frames that a reply brings and that were appended by the same call are added to the copy of a session twice."""
    return mock.patch.object(KeptFrames, "followed_by", _followed_blindly)


def entry_resolved_twice() -> contextlib.AbstractContextManager[object]:
    """An entry that has failed, or whose caller has left, is resolved again when its batch ends."""
    return mock.patch.object(Entry, "succeed", _succeed_again)


def window_of_another_version() -> contextlib.AbstractContextManager[object]:
    """A replica lifts the windows of a session with the newest version that it serves."""
    return mock.patch.object(ServedModels, "find_by_identity", _find_any)


MUTATIONS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    mutation.__name__: mutation for mutation in (reply_applied_twice, entry_resolved_twice, window_of_another_version)
}


def _followed_blindly(older: KeptFrames, newer: KeptFrames) -> KeptFrames:
    screen = np.concatenate([older.screen, newer.screen])
    imputed = np.concatenate([older.imputed, newer.imputed])
    return KeptFrames(older.start, screen, imputed)


def _succeed_again(entry: Entry, now: float) -> None:
    if entry.future.done():
        entry.future.set_result(EntryResult((), 0.0, 0.0))
    _succeed(entry, now)


def _find_any(models: ServedModels, identity: str) -> Model | None:
    return _find_by_identity(models, identity) or next(reversed(list(models)), None)
