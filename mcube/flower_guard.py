"""Flower is never open: it does not start without a password, and it answers to no foreign name.

The check of the name keeps a page of another site, whose name was pointed at this machine, from reading it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http.request import validate_host

_AUTHENTICATED = ("--basic-auth", "--basic_auth", "--auth")


def install(arguments: Sequence[str]) -> None:
    """Guard this process, if its command is Flower's.

    :raises SystemExit: no password is set.
    """
    if "flower" not in arguments:
        return
    if not os.environ.get("FLOWER_BASIC_AUTH") and not any(word.startswith(_AUTHENTICATED) for word in arguments):
        raise SystemExit("FLOWER_BASIC_AUTH: Flower does not start open; set it to user:password, or use `make up`.")
    _refuse_foreign_hosts()


def _refuse_foreign_hosts() -> None:
    from flower.app import Flower
    from tornado.web import Application, ErrorHandler

    def find_handler(self: Application, request: Any, **options: Any) -> Any:
        if validate_host(request.host_name, settings.ALLOWED_HOSTS):
            return Application.find_handler(self, request, **options)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 400})

    Flower.find_handler = find_handler
