"""What a credential may look like. Messages never repeat the value."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

#: A JSON Web Token of a broker is about 1 KB; nothing else comes near.
MAX_LENGTH = 8192
#: Control characters and line separators: they could end an HTTP header or a line of a log.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_text(column: str, value: str) -> None:
    """Refuse what must not reach a header, a log or the database.

    :raises ValidationError: control characters, or too long.
    """
    if UNPRINTABLE.search(value):
        raise ValidationError(f"{column} holds a line break or another control character; enter it without.")
    if len(value) > MAX_LENGTH:
        raise ValidationError(f"{column} is {len(value)} characters long; at most {MAX_LENGTH} are kept.")


def secret_in(path: str) -> str:
    """The secret that a file or a pipe holds, without the space around it.

    :raises OSError: it cannot be read.
    :raises ValueError: it is no text, or longer than any secret, e.g. a device without an end.
    """
    with open(path, "rb") as file:
        content = file.read(4 * MAX_LENGTH + 1)
    if len(content) > 4 * MAX_LENGTH:
        raise ValueError(f"it holds more than {4 * MAX_LENGTH} bytes")
    text = content.decode()
    if "\x00" in text:
        raise ValueError("it holds no text")
    return text.strip()


def check_name(value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValidationError("A name is 1 to 64 letters, digits, dots, dashes and underscores.")


def check_pan(value: str) -> None:
    if not re.fullmatch(r"[A-Z]{5}[0-9]{4}[A-Z]", value):
        raise ValidationError("The PAN is five capital letters, four digits and a capital letter.")


def check_mpin(value: str) -> None:
    if not re.fullmatch(r"[0-9]{6}", value):
        raise ValidationError("The MPIN is six digits.")


def check_totp_secret(value: str) -> None:
    """The secret behind the authenticator's QR code, not a code of the moment."""
    text = value.replace(" ", "").upper()
    try:
        secret = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        secret = b""
    if len(secret) < 10:
        raise ValidationError(
            "The TOTP secret is the base32 text (A to Z and 2 to 7, at least 16 characters) shown beside the QR code, "
            "not the six digits of the moment."
        )


def check_mobile(value: str) -> None:
    if not re.fullmatch(r"\+91[6-9][0-9]{9}", value):
        raise ValidationError("The mobile number is +91 and ten digits, without spaces.")


def check_address(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError as error:
        raise ValidationError("The static address is an IPv4 or IPv6 address.") from error


def normalise(column: str, value: str) -> str:
    """What a person typed or pasted, in the one way it is stored."""
    text = value.strip()
    if column == "pan":
        return text.upper()
    if column == "totp_secret":
        return text.replace(" ", "").upper()
    if column == "mobile_number":
        digits = re.sub(r"[ -]", "", text)
        return re.sub(r"^(?:\+?91)?(?=[6-9][0-9]{9}$)", "+91", digits)
    return text


@sensitive_variables()
def token_in(text: str) -> str:
    """The token in what a person pasted: itself, or the only value of the address that the login page ended at.

    :raises ValidationError: there is none.
    """
    text = text.strip()
    if "://" in text:
        values = [value for _, value in parse_qsl(urlsplit(text).query)]
        text = values[0].strip() if len(values) == 1 else ""
    if not text:
        raise ValidationError("There is no token in what was pasted; copy the token alone from the address.")
    return text
