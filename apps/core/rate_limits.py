"""Rate limits: counters that all processes share, for example of failed sign-ins.

Each key counts from its first attempt on, for a fixed time. The counters are in the broker's Redis or Valkey. While
that does not answer, each process counts for itself: the limits are then wider, and users can still sign in.
"""

import functools
import logging
import threading
import time
from collections import OrderedDict
from typing import NamedTuple

import redis
from django.conf import settings
from django.utils.crypto import salted_hmac

logger = logging.getLogger(__name__)
_PREFIX = "checxray:limit:"
_AWAY_SECONDS = 5
_MOST_LOCAL_KEYS = 20_000
# One atomic round trip. It works on Redis 6.2 as well, whose EXPIRE has no option NX.
_ADD = """
local number = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('TTL', KEYS[1])
if left < 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    left = tonumber(ARGV[2])
end
return {number, left}
"""


class Count(NamedTuple):
    """The number of attempts, and the seconds until the counter is reset."""

    number: int
    seconds_left: int


def key_of(kind: str, *parts: str) -> str:
    """A key that holds no address and no account: both are hashed with the secret key."""
    text = "\x00".join(parts)
    return f"{kind}:{salted_hmac('apps.core.rate_limits', text, algorithm='sha256').hexdigest()}"


def add(key: str, seconds: int, amount: int = 1) -> Count:
    """Add to a counter (an ``amount`` of -1 takes one back) and return its new state."""
    if time.monotonic() >= _local.away_until:
        try:
            number, left = _client().eval(_ADD, 1, _PREFIX + key, amount, seconds)
            return Count(int(number), int(left))
        except (redis.RedisError, OSError) as error:
            _local.leave_store_alone(error)
    return _local.add(key, seconds, amount)


def reset(key: str) -> None:
    """Set a counter to zero."""
    _local.reset(key)
    if time.monotonic() >= _local.away_until:
        try:
            _client().delete(_PREFIX + key)
        except (redis.RedisError, OSError) as error:
            _local.leave_store_alone(error)


@functools.cache
def _client() -> "redis.Redis":
    url = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://", 1)
    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)


class _LocalCounts:
    """The counters of this process alone, while the shared store does not answer."""

    def __init__(self) -> None:
        self.away_until = 0.0
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def leave_store_alone(self, error: Exception) -> None:
        """Do not use a store that did not answer for a while: every sign-in would wait for it."""
        self.away_until = time.monotonic() + _AWAY_SECONDS
        logger.warning("The shared counters do not answer (%s); each process counts alone.", type(error).__name__)

    def add(self, key: str, seconds: int, amount: int) -> Count:
        now = time.monotonic()
        with self._lock:
            number, until = self._counts.pop(key, (0, 0.0))
            if until <= now:
                number, until = 0, now + seconds
            number += amount
            self._counts[key] = (number, until)
            if len(self._counts) > _MOST_LOCAL_KEYS:
                self._counts.popitem(last=False)
        return Count(number, max(1, int(until - now)))

    def reset(self, key: str) -> None:
        with self._lock:
            self._counts.pop(key, None)


_local = _LocalCounts()
