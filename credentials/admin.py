"""Credentials in the admin: secrets go in and never come out."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.widgets import UnfoldAdminPasswordWidget

from brokers.admin.base import LongTableAdmin, ModelAdmin, PeriodFilter, ReadOnly, action, after_dialog
from credentials import store
from credentials.access import USE, acting_as
from credentials.accounts import open_account
from credentials.fields import EncryptedField, secret_fields
from credentials.models import CredentialAccess, CredentialStore, ImportedReference
from credentials.services import service_choices

CLEAR: dict[str, Any] = {
    "title": "Clear the session",
    "description": "Takes today's session out of the credential, for every process; the next use logs in again.",
    "form_class": None,
    "form_submit_text": "Clear it",
}


class ServiceFilter(admin.SimpleListFilter):
    title = "service"
    parameter_name = "service"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return service_choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(service=self.value()) if self.value() else queryset


@admin.register(CredentialStore)
class CredentialStoreAdmin(ModelAdmin):
    list_display = ["__str__", "is_complete", "last_session_update", "updated_at", "key_fingerprint"]
    list_filter = [ServiceFilter]
    search_fields = ["name"]
    readonly_fields = ["secrets_set", "lacking", "created_at", "updated_at", "last_session_update", "key_fingerprint"]
    fields = ["service", "name", "secrets_set", "lacking", *secret_fields(CredentialStore), *readonly_fields[2:]]
    formfield_overrides = {
        EncryptedField: {"widget": UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})}
    }
    actions_detail = ["clear_session"]

    def get_readonly_fields(self, request: HttpRequest, obj: CredentialStore | None = None) -> Any:
        # Both are part of the encryption.
        return [*self.readonly_fields, "service", "name"] if obj else self.readonly_fields

    @admin.display(description="complete", boolean=True)
    def is_complete(self, row: CredentialStore) -> bool:
        return not store.missing(row)

    @admin.display(description="secrets that are set")
    def secrets_set(self, row: CredentialStore) -> str:
        return ", ".join(row.set_columns()) or "none"

    @admin.display(description="secrets that are missing")
    def lacking(self, row: CredentialStore) -> str:
        return ", ".join(store.missing(row)) or "none"

    def has_use_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(USE)

    # A dialog, so that only a POST with its token does it.
    @action(description="Clear session", url_path="clear-session", dialog=CLEAR, permission="use")
    def clear_session(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        row = get_object_or_404(CredentialStore, pk=object_id)
        with acting_as(f"user {request.user}"):
            store.clear_session(row.service, row.name)
        self.message_user(request, f"The session of {row} is cleared; the next use logs in.")
        return after_dialog(request, reverse("admin:credentials_credentialstore_change", args=(object_id,)))

    def save_model(self, request: HttpRequest, obj: CredentialStore, form: Any, change: bool) -> None:
        with acting_as(f"user {request.user}"):
            # What was left blank is not written, so that a session opened meanwhile stays.
            obj.save(update_fields=form.changed_data if change else None)
            open_account(obj.service, obj.name)

    def delete_model(self, request: HttpRequest, obj: CredentialStore) -> None:
        with acting_as(f"user {request.user}"):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CredentialStore]) -> None:
        with acting_as(f"user {request.user}"):
            super().delete_queryset(request, queryset)


@admin.register(CredentialAccess)
class CredentialAccessAdmin(LongTableAdmin):
    list_display = ["at", "action", "service", "name", "actor", "purpose", "columns"]
    list_filter = ["action", ServiceFilter, ("at", PeriodFilter)]
    list_filter_submit = True
    search_fields = ["actor", "purpose"]


@admin.register(ImportedReference)
class ImportedReferenceAdmin(ReadOnly, ModelAdmin):
    list_display = ["kind", "key", "imported_at"]
    list_filter = ["kind"]
    search_fields = ["key"]
