"""A login at the broker's own page: the way there, and the way back with the day's token.

The broker calls ``/credentials/<broker>/callback?apisession=...`` in the person's browser. It is taken only from a
person who may use credentials and who left for the broker's page from here, once, within a quarter of an hour.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from brokers import sessions
from brokers.clock import configured_clock
from brokers.domain.errors import BrokerError, CredentialsNotFound, SDKMissing
from brokers.domain.redaction import scrub
from brokers.factory import make_adapter
from brokers.models import BrokerAccount
from credentials.access import USE, acting_as

log = logging.getLogger("brokers.sessions")

#: Where the browser's session keeps who left for which broker's page, and when.
PENDING = "login_at_broker"
PENDING_SECONDS = 15 * 60
#: The names under which brokers hand the token over.
TOKEN_FIELDS = ("apisession", "API_Session")
MOST_CHARACTERS = 4000


def leave(request: HttpRequest, account: BrokerAccount) -> str:
    """Note that this person goes to the broker's page for ``account`` now; returns the page's address.

    :raises PermissionDenied: they may not use credentials.
    :raises BrokerError: this broker has no such page, or it is not known.
    """
    if not request.user.has_perm(USE):
        raise PermissionDenied
    with acting_as(f"user {request.user}"):
        page = _page_of(account)
    request.session[PENDING] = {"account": account.pk, "at": _now()}
    return page


def _now() -> float:
    """Seconds of the wall's clock; a browser's session outlives a process."""
    return configured_clock().real_now().timestamp()


def _page_of(account: BrokerAccount) -> str:
    adapter = make_adapter(account, clock=configured_clock())
    try:
        return adapter.login_page()
    finally:
        adapter.close()


@never_cache
@csrf_exempt
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def callback(request: HttpRequest, broker: str) -> HttpResponse:
    """Take the token that the broker's page sends the person's browser back with.

    A form that is posted from the broker's site comes without our cookies, so it is only sent on as a GET; that one
    carries them, and what it may do is bound to the login that was begun here.
    """
    token = next((text for name in TOKEN_FIELDS if (text := _given(request, name))), "")
    if request.method == "POST":
        address = f"{reverse('login_callback', args=(broker,))}?{urlencode({TOKEN_FIELDS[0]: token})}"
        return _private(HttpResponseRedirect(address, status=HTTPStatus.SEE_OTHER))
    if not request.user.is_authenticated or not request.user.is_staff:
        # The token does not go along: who logs in now begins again at the account's page.
        accounts = reverse("admin:brokers_brokeraccount_changelist")
        return _private(redirect(f"{reverse('admin:login')}?{urlencode({REDIRECT_FIELD_NAME: accounts})}"))
    if not request.user.has_perm(USE):
        raise PermissionDenied
    return _private(_take(request, broker, token))


def _given(request: HttpRequest, name: str) -> str:
    return (request.POST.get(name) or request.GET.get(name) or "")[: MOST_CHARACTERS + 1]


@sensitive_variables("token")
def _take(request: HttpRequest, broker: str, token: str) -> HttpResponse:
    pending = request.session.pop(PENDING, None)
    if not isinstance(pending, dict) or not 0 <= _now() - pending["at"] <= PENDING_SECONDS:
        log.warning("a login callback that nobody waits for was refused", extra={"user": str(request.user)})
        messages.error(request, "No login was begun here, or too long ago; begin it at the account's page.")
        return redirect("admin:brokers_brokeraccount_changelist")
    account = get_object_or_404(BrokerAccount, pk=pending["account"])
    if account.broker != broker:
        messages.error(request, f"The login that was begun is of {account}, and another broker answered; begin again.")
    elif not token or len(token) > MOST_CHARACTERS:
        messages.error(request, "The broker's page brought no token, or one far too long; log in there once more.")
    else:
        _log_in(request, account, token)
    return redirect("admin:brokers_brokeraccount_change", account.pk)


@sensitive_variables("token")
def _log_in(request: HttpRequest, account: BrokerAccount, token: str) -> None:
    try:
        with acting_as(f"user {request.user}"):
            sessions.give_token(account, token)
            sessions.ensure(account, clock=configured_clock())
    except (BrokerError, CredentialsNotFound, SDKMissing, ValidationError) as error:
        messages.error(request, scrub(f"{account}: {error}"))
    else:
        messages.success(request, f"{account} has a session; orders that waited for it go out now.")


def _private(response: HttpResponse) -> HttpResponse:
    """The address holds a token: no page may learn it as the one before."""
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
