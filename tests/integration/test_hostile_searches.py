"""What is typed into a search of the admin is text to look for, never a pattern or a statement."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:No directory at:UserWarning")]

SEARCHABLE = [
    f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    for model, page in admin.site._registry.items()
    if page.search_fields
]
#: None of them stands in any row; as patterns some would fit all of them.
HOSTILE = ["%%", "__", "z%' OR '1'='1", "'; DROP TABLE auth_user; --", "\\", "(((", "\u202e", "a" * 20_000]


def test_a_hostile_search_finds_nothing_and_breaks_nothing(admin_client: Client) -> None:
    assert len(SEARCHABLE) > 5
    for name in SEARCHABLE:
        for text in HOSTILE:
            answer: Any = admin_client.get(reverse(name), {"q": text})
            assert answer.status_code == 200
            assert not list(answer.context["cl"].result_list), (name, text[:30])
        assert admin_client.get(reverse(name), {"q": "nul\x00"}).status_code in (200, 302)
    assert User.objects.exists()


def test_wildcards_stand_for_themselves(admin_client: Client) -> None:
    for name in ("asha", "a%ha", "a_ha"):
        User.objects.create_user(name)
    for text, found in (("a%ha", ["a%ha"]), ("a_ha", ["a_ha"]), ("%", ["a%ha"]), ("asha", ["asha"])):
        answer: Any = admin_client.get(reverse("admin:auth_user_changelist"), {"q": text})
        assert [row.username for row in answer.context["cl"].queryset] == found, text
