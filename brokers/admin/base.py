"""What every admin page of the ledger and its neighbours has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.contrib.admin import SimpleListFilter
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from unfold import decorators
from unfold.contrib.filters.admin import RangeDateFilter, RangeDateTimeFilter
from unfold.paginator import InfinitePaginator
from unfold.utils import parse_date_str, parse_datetime_str

from brokers.domain.redaction import scrub

if TYPE_CHECKING:
    # The theme has no types; its classes are Django's with more attributes.
    from django.contrib.admin import StackedInline, TabularInline

    ModelAdmin = DjangoModelAdmin[Any]
    StackedInlineAdmin = StackedInline[Any, Any]
    TabularInlineAdmin = TabularInline[Any, Any]
else:
    from unfold.admin import ModelAdmin
    from unfold.admin import StackedInline as StackedInlineAdmin
    from unfold.admin import TabularInline as TabularInlineAdmin

__all__ = [
    "DayFilter",
    "LongTableAdmin",
    "ModelAdmin",
    "PeriodFilter",
    "ReadOnly",
    "ReadOnlyInline",
    "StackedInlineAdmin",
    "TabularInlineAdmin",
    "action",
    "after_dialog",
    "display",
    "told",
    "vocabulary",
]

F = TypeVar("F", bound=Callable[..., Any])


def display(
    *, description: str, label: Mapping[Any, str] | None = None, ordering: str | None = None
) -> Callable[[F], F]:
    """A column; ``label`` gives the colour of each value."""
    decorated: Callable[[F], F] = decorators.display(description=description, label=label, ordering=ordering)
    return decorated


def told(field: str) -> Callable[[Any, Model], str]:
    """A column of free words, which are searched for secrets once more before a person reads them."""

    @display(description=field.replace("_", " "))
    def show(_page: Any, row: Model) -> str:
        return scrub(getattr(row, field))

    return show


def action(
    *,
    description: str,
    url_path: str | None = None,
    dialog: Mapping[str, Any] | None = None,
    permission: str = "change",
) -> Callable[[F], F]:
    """What a person may do to a row; with a ``dialog`` only after saying so there.

    ``permission`` names the page's ``has_..._permission``.
    """
    decorated: Callable[[F], F] = decorators.action(
        description=description, permissions=[permission], url_path=url_path, dialog=dialog
    )
    return decorated


def after_dialog(request: HttpRequest, address: str) -> HttpResponse:
    """Go to ``address``: the theme submits its dialogs by htmx, which follows this header with a whole page."""
    return HttpResponse(headers={"HX-Redirect": address}) if "HX-Request" in request.headers else redirect(address)


class ReadOnly:
    """Nobody adds, changes or deletes here; the rows are written by the system alone."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LongTableAdmin(ReadOnly, ModelAdmin):
    """A table that grows for years: newest first by key, pages without counting, no guess of a total.

    No date hierarchy: it would read the whole table for its first and last day.
    """

    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    paginator = InfinitePaginator
    list_fullwidth = True


class ReadOnlyInline(ReadOnly, TabularInlineAdmin):
    extra = 0
    can_delete = False
    show_title = False
    # What Unfold for Python 3.11 calls it; later ones warn of it.
    if hasattr(TabularInlineAdmin, "hide_title"):
        hide_title = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields


class VocabularyFilter(SimpleListFilter):
    """Filters by the members of a closed vocabulary, without asking the table which of them it holds."""

    members: type[StrEnum]

    def lookups(self, request: HttpRequest, model_admin: DjangoModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(member.value, member.value) for member in self.members]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class PeriodFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From one moment to another, in the zone that the page shows; the theme's own would take them for UTC."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        for end, lookup, usual in (("from", "gte", "00:00"), ("to", "lte", "23:59:59")):
            day = self.used_parameters.get(f"{self.parameter_name}_{end}_0")
            clock = self.used_parameters.get(f"{self.parameter_name}_{end}_1")
            if not day:
                continue
            moment = parse_datetime_str(f"{day} {clock or usual}")
            if moment is None:
                return queryset.none()
            queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": timezone.make_aware(moment)})
        return queryset


class DayFilter(RangeDateFilter):  # type: ignore[misc]
    """From one day to another; what is no day finds nothing."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        for end, lookup in (("from", "gte"), ("to", "lte")):
            given = self.used_parameters.get(f"{self.parameter_name}_{end}")
            if not given:
                continue
            day = parse_date_str(given)
            if day is None:
                return queryset.none()
            queryset = queryset.filter(**{f"{self.parameter_name}__{lookup}": day})
        return queryset


def vocabulary(field: str, members: type[StrEnum], title: str = "") -> type[VocabularyFilter]:
    """A filter of ``field`` by ``members``."""
    return type(
        f"{members.__name__}Filter",
        (VocabularyFilter,),
        {"parameter_name": field, "title": title or field.replace("_", " "), "members": members},
    )
