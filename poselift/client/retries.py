"""When to try again, and for how long."""

import random

from poselift.client.errors import UNREACHABLE

# The same request may be sent again after one of these: nothing was done, or doing it twice does no harm.
TEMPORARY_CODES = frozenset((UNREACHABLE, "not_ready", "overloaded", "session_store_down", "repository_down"))
_FIRST_S, _LONGEST_S = 0.05, 2.0


class Backoff:
    """The pauses between attempts: those that the server suggests, or else growing ones, both with jitter."""

    def __init__(self) -> None:
        self._attempts = 0

    def next_pause_s(self, retry_after_s: float | None) -> float:
        """Time to wait before the next attempt; never less than the server suggests."""
        grown_s = min(_LONGEST_S, _FIRST_S * 2**self._attempts)
        self._attempts += 1
        if retry_after_s is not None:
            return retry_after_s + random.uniform(0, 0.2 * retry_after_s + _FIRST_S)
        return random.uniform(grown_s / 2, grown_s)

    def reset(self) -> None:
        """Begin with short pauses again, after a success."""
        self._attempts = 0
