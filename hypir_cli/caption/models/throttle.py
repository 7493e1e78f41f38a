"""When to send the next request: a rate limit, and pauses after refusals."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone


class RateLimit:
    """Spaces requests of all threads evenly.

    Args:
        per_minute: Most requests per minute; None does not limit.
        clock: Seconds that never run backwards.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        per_minute: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when the caller may send."""
        if not self._interval:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._interval
        if start > now:
            self._sleep(start - now)


def pause(
    attempt: int, *, backoff: float, max_wait: float, retry_after: str | None = None
) -> float:
    """Seconds to wait after a failed try.

    Args:
        attempt: Tries made so far, at least 1.
        backoff: Pause after the first, doubled for each further one.
        max_wait: Longest pause.
        retry_after: The server's header of that name: seconds or an HTTP date.

    Returns:
        What the server asks for, else the backoff with full jitter over its upper half.
    """
    asked = _seconds(retry_after)
    if asked is not None:
        return min(max_wait, asked)
    longest = min(max_wait, backoff * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)


def _seconds(retry_after: str | None) -> float | None:
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
