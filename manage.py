#!/usr/bin/env python3
"""Django's command line for mcube."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mcube.settings")
    try:
        from django.core.management import execute_from_command_line
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{sys.executable} has no Django; run `make install`, then `.venv/bin/python manage.py ...`."
        ) from error

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
