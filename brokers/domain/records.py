"""Values that also answer like a mapping, since callers write ``position["symbol"]``."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any


class Record:
    """Mixin for the frozen dataclasses that callers receive: attributes, ``[...]`` and ``.get``."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        if not isinstance(key, str) or key.startswith("_") or not hasattr(self, key):
            raise KeyError(key)
        return getattr(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or ``default`` when there is no such field or its value is None."""
        try:
            value = self[key]
        except KeyError:
            return default
        return default if value is None else value

    def keys(self) -> Iterator[str]:
        return (f.name for f in fields(self))  # type: ignore[arg-type]
