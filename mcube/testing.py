"""Sends ``manage.py test`` to the tests' real entry."""

from typing import NoReturn


class UseMakeTest:
    """Django's test command, answered by a sentence."""

    def __init__(self, **kwargs: object) -> None:
        pass

    @classmethod
    def add_arguments(cls, parser: object) -> None:
        pass

    def run_tests(self, labels: list[str], **kwargs: object) -> NoReturn:
        raise SystemExit("The tests are run by pytest: `make test` (all) or `.venv/bin/python -m pytest tests/unit`.")
