"""Takes secrets out of text and values before a person or a file sees them.

Two nets: a value whose name says that it is secret is masked whole, and every text is searched for
what looks like one (addresses with credentials, web tokens, ``password=...``).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

MASK = "***"

#: Longest text that is searched and kept; the rest of a longer one is dropped unread.
LONGEST = 65_536

_TELLING_PARTS = (
    "password|passwd|passphrase|pwd|secret|token|mpin|totp|authori[sz]ation|api_?key|api_?session|access_?key|"
    "private_?key|encryption_?keys?|session_?key|session_?id|checksum|cookie|jwt"
)
_TELLING_WORDS = "otp|sid|auth|pin|pan|mobile|mobile_?number|session|creds|credentials"

_NAME_CONTAINS = re.compile(_TELLING_PARTS)
_NAME_IS = re.compile(rf"(?:{_TELLING_WORDS})")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_WORD = re.compile(r"[\W_]+")

# Repetitions are bounded, so that a hostile text costs time in proportion to its length.
_NAME_IN_TEXT = (
    rf"(?<![^\W_])(?:\w{{0,40}}(?:{_TELLING_PARTS.replace('_?', '[_-]?')})\w{{0,24}}"
    rf"|(?:{_TELLING_WORDS.replace('_?', '[_-]?')}))"
)
_VALUE = (
    r"""(?:b?"(?:[^"\\]|\\.)*"|b?'(?:[^'\\]|\\.)*'|\\+["'][^"'\\]*\\+["']|%22(?:(?!%22)[^\s&])*"""
    r"""|(?:bearer|basic|digest)\s+[^\s"'<>]+|[^\s&"'<>]+)"""
)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s\"'<>]*@", re.I), rf"\1{MASK}@"),
    # JSON web tokens, also without a signature
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), MASK),
    # Fernet ciphertext
    (re.compile(r"\bgAAAA[\w-]{40,}={0,2}"), MASK),
    (re.compile(r"\b(bearer|basic)\s+[\w+/.~-]{12,}={0,2}", re.I), rf"\1 {MASK}"),
    # ('sid', 'value'), as headers are often shown
    (re.compile(rf"({_NAME_IN_TEXT}[\"']\s{{0,8}},\s{{0,8}}b?)(?:\"[^\"]*\"|'[^']*')", re.I), rf"\1'{MASK}'"),
    # name=value, "name": "value", the same escaped or in a form body
    (
        re.compile(
            rf"({_NAME_IN_TEXT})((?:\\*[\"']|%22)?\s{{0,8}}(?:=>|=|:|%3d|%3a)\s{{0,8}}){_VALUE}",
            re.I,
        ),
        rf"\1\2{MASK}",
    ),
)

_SHORT_REPR = reprlib.Repr()
_SHORT_REPR.maxother = LONGEST
_DEEPEST = 8


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is secret, whatever it is. ``session_version`` is not, ``sessionToken`` is."""
    words = _NOT_WORD.sub("_", _CAMEL.sub("_", name)).strip("_").lower()
    return bool(_NAME_CONTAINS.search(words) or _NAME_IS.fullmatch(words))


def scrub(text: str) -> str:
    """The text with everything masked that looks like a secret."""
    text = text[:LONGEST]
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact(value: object, *, name: str = "", depth: int = 0) -> object:
    """The value as plain data (text, numbers, lists, dicts) with every secret masked."""
    if name and is_secret_name(name) and value not in (None, "", True, False):
        return MASK
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, (Decimal, date, timedelta)):
        return str(value)
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {
            scrub(str(key)): redact(item, name=str(key), depth=depth + 1) for key, item in list(value.items())[:1000]
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item, depth=depth + 1) for item in list(value)[:1000]]
    # A broken __repr__ must not cost the record.
    return scrub(_SHORT_REPR.repr_instance(value, 0))
