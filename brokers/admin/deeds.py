"""Pages on which a person does something that matters: by POST, with a permission, and on the record.

A page is opened with GET, which changes nothing. Each deed is a form of its own; what was entered badly comes back
with the entries kept, and a deed that the system refuses says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from brokers.admin.base import ModelAdmin
from brokers.domain.errors import AccountNotFound, BrokerError, CredentialsNotFound, SDKMissing
from brokers.domain.order_states import IllegalTransition
from brokers.domain.redaction import scrub

#: What the system says when it does not do what it was asked.
REFUSALS = (AccountNotFound, BrokerError, CredentialsNotFound, IllegalTransition, SDKMissing)

Form = forms.Form


class ReasonForm(forms.Form):
    """What every deed asks for."""

    reason = forms.CharField(
        max_length=500,
        label="Reason",
        help_text="Kept for ever, with your name.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )


def typed_word(word: str) -> forms.CharField:
    """A field in which exactly ``word`` has to be typed, so that no click does it alone."""

    def check(value: str) -> None:
        if value.strip() != word:
            raise ValidationError(f"Type {word} exactly as it is written here.")

    return forms.CharField(
        label=f"Type {word}",
        max_length=80,
        validators=[check],
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """Something a person may do on a page."""

    name: str
    title: str
    #: What it does, in a sentence or two for somebody in a hurry.
    description: str
    #: E.g. ``brokers.halt_trading``.
    permission: str
    #: Does it, and returns the sentence that says what was done.
    perform: Callable[[HttpRequest, Mapping[str, Any]], str]
    form: Callable[..., forms.Form] = ReasonForm
    #: The theme's word for the button: danger, primary, default.
    variant: str = "primary"
    #: Before the names of its fields, so that several forms fit on a page; its name unless it shares them.
    prefix: str = ""

    def make(self, data: Mapping[str, Any] | None = None) -> forms.Form:
        return self.form(data, prefix=self.prefix or self.name)


def person(request: HttpRequest) -> str:
    """Who did it, for the record."""
    return str(request.user.get_username())


def page(
    admin_page: ModelAdmin,
    request: HttpRequest,
    deeds: Sequence[Deed],
    *,
    template: str,
    title: str,
    context: Mapping[str, Any],
    back: str,
) -> HttpResponse:
    """Show a page with its deeds, or do the one that was posted and go ``back``.

    :raises PermissionDenied: the person may not see the page, or not do that.
    """
    if not admin_page.has_view_permission(request) and not any(request.user.has_perm(d.permission) for d in deeds):
        raise PermissionDenied
    bound: forms.Form | None = None
    chosen = next((deed for deed in deeds if deed.name == request.POST.get("deed")), None)
    if request.method == "POST":
        if chosen is None or not request.user.has_perm(chosen.permission):
            raise PermissionDenied
        bound = chosen.make(request.POST)
        if bound.is_valid() and _done(admin_page, request, chosen, bound):
            return redirect(back)
    offered = [
        {"deed": deed, "form": bound if bound is not None and deed is chosen else deed.make()}
        for deed in deeds
        if request.user.has_perm(deed.permission)
    ]
    request.current_app = admin_page.admin_site.name
    shared = {
        **admin_page.admin_site.each_context(request),
        "title": title,
        "offered": offered,
        "hidden": len(deeds) - len(offered),
    }
    return TemplateResponse(request, template, {**shared, **context})


def _done(admin_page: ModelAdmin, request: HttpRequest, deed: Deed, form: forms.Form) -> bool:
    try:
        said = deed.perform(request, form.cleaned_data)
    except ValidationError as error:
        form.add_error(None, error)
        return False
    except REFUSALS as error:
        form.add_error(None, scrub(str(error)))
        return False
    admin_page.message_user(request, scrub(said), messages.SUCCESS)
    return True
