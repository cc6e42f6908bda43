"""How long a broker is left alone after a login that failed, so that no schedule turns into a hot loop against it."""

from __future__ import annotations

from datetime import timedelta

from brokers.clock import IST
from brokers.domain.errors import BrokerUnavailable, LoginFailed
from brokers.interfaces import Clock
from brokers.models import SessionState

#: First and longest pause after a login that the broker refused. A few wrong one-time passwords lock an
#: account's login for about five minutes.
REFUSED_PAUSE = (timedelta(minutes=5), timedelta(hours=1))
#: The same after a login that found the broker unreachable.
UNREACHABLE_PAUSE = (timedelta(seconds=5), timedelta(minutes=5))
#: A session that the broker drops this soon counts as a failed login from the second time on, so that a key
#: which logs in and then fails every call is not used over and over.
SHORT_LIFE = timedelta(minutes=5)


def is_paused(state: SessionState, clock: Clock, patience: float) -> bool:
    """Keep a failed login from being tried again too soon; whether the pause ends within ``patience`` seconds.

    :raises LoginFailed: the broker refused it, so that there is nothing to wait for.
    :raises BrokerUnavailable: the pause is longer.
    """
    if state.status == SessionState.Status.NEEDS_PERSON:
        raise LoginFailed(state.message)
    # A pause longer than the longest comes from a clock that was set back.
    longest = max(REFUSED_PAUSE[1], UNREACHABLE_PAUSE[1])
    if state.retry_at is None or not clock.now() < state.retry_at <= clock.now() + longest:
        return False
    told = f"{state.message} The next login is tried at {state.retry_at.astimezone(IST):%H:%M:%S} IST."
    if state.status == SessionState.Status.FAILED:
        raise LoginFailed(told)
    if (state.retry_at - clock.now()).total_seconds() > patience:
        raise BrokerUnavailable(told)
    return True


def was_opened_just_now(state: SessionState, clock: Clock) -> bool:
    return state.opened_at is not None and abs(clock.now() - state.opened_at) < SHORT_LIFE


def pause(ladder: tuple[timedelta, timedelta], failures: int) -> timedelta:
    """How long to leave the broker alone after this many failures in a row: doubled each time, up to a limit."""
    first, longest = ladder
    doublings: int = 2 ** min(failures - 1, 16)
    return min(first * doublings, longest)
