"""The content security policy of every answer."""

from __future__ import annotations

from csp.constants import UNSAFE_EVAL
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse


class ContentPolicy(CSPMiddleware):
    """What ``CONTENT_SECURITY_POLICY`` says, and below the admin that text may be evaluated as script.

    The theme's Alpine.js keeps its expressions in attributes and evaluates them. No page needs an inline script.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith(reverse("admin:index")):
            parts.update = {**(parts.update or {}), "script-src": [UNSAFE_EVAL]}
        return parts
