"""People read times in IST; the database and the code keep UTC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import cast
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware

#: A named zone, since databases group by day with it.
INDIA = ZoneInfo("Asia/Kolkata")

Handler = Callable[[HttpRequest], HttpResponse] | Callable[[HttpRequest], Awaitable[HttpResponse]]


@sync_and_async_middleware
def indian_time(get_response: Handler) -> Handler:
    """Show and take every time of a page in IST."""
    if iscoroutinefunction(get_response):
        answer_later = cast(Callable[[HttpRequest], Awaitable[HttpResponse]], get_response)

        async def handle_async(request: HttpRequest) -> HttpResponse:
            with timezone.override(INDIA):
                return await answer_later(request)

        return handle_async

    answer = cast(Callable[[HttpRequest], HttpResponse], get_response)

    def handle(request: HttpRequest) -> HttpResponse:
        with timezone.override(INDIA):
            return answer(request)

    return handle
