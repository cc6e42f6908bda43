"""The simulated accounts: synthetic identities, the same on every machine, made from broker and number."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache

#: The account that every installation has.
DEFAULT_NUMBER = 1
#: How many accounts of a broker the simulator knows.
LAST_NUMBER = 2000
STARTING_FUNDS = Decimal(2_500_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedAccount:
    """One synthetic person's account at one broker. Nothing here belongs to anybody."""

    broker: str
    number: int
    user_id: str
    user_name: str
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    password: str = field(repr=False)
    #: Six digits.
    mpin: str = field(repr=False)
    pan: str = field(repr=False)
    #: With country code, ``+91`` and ten digits.
    mobile_number: str
    ucc: str
    #: Base32.
    totp_secret: str = field(repr=False)
    #: Cash in rupees at the start of a day.
    funds: Decimal = STARTING_FUNDS

    @property
    def key(self) -> str:
        """Its name in the exchange and the truth log."""
        return f"{self.broker}:{self.user_id}"

    def credentials(self) -> dict[str, str]:
        """The row of credentials of this account, by credential column."""
        return {
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "username": self.user_id,
            "password": self.password,
            "neo_password": self.mpin,
            "pan": self.pan,
            "mobile_number": self.mobile_number,
            "ucc": self.ucc,
            "totp_secret": self.totp_secret,
        }


def default(broker: str) -> SimulatedAccount:
    """The account named ``default`` of a broker."""
    return numbered(broker, DEFAULT_NUMBER)


@cache
def numbered(broker: str, number: int) -> SimulatedAccount:
    """Account ``number`` (1 to 2000) of a broker; the simulator takes logins of each of them.

    :raises ValueError: a number that is out of range.
    """
    if not 1 <= number <= LAST_NUMBER:
        raise ValueError(f"There is no simulated account {number}; choose 1 to {LAST_NUMBER}.")
    seed = hashlib.sha256(f"{broker}/{number}".encode()).digest()
    digits = str(int.from_bytes(seed, "big"))
    letters = "".join(chr(65 + byte % 26) for byte in seed)
    return SimulatedAccount(
        broker=broker,
        number=number,
        user_id=f"{letters[:2]}{number:06d}",
        user_name=f"SIMULATED TRADER {number}",
        api_key=f"sim-key-{number:03d}-{seed[:8].hex()}",
        api_secret=f"sim-secret-{seed[8:20].hex()}",
        password=f"sim-password-{digits[:6]}",
        mpin=digits[6:12],
        pan=f"ZZZZZ{number:04d}Z",
        mobile_number=f"+9190000{number:05d}",
        ucc=f"{letters[:2]}{number:03d}",
        totp_secret=base64.b32encode(seed[:20]).decode(),
    )


@cache
def of(broker: str) -> tuple[SimulatedAccount, ...]:
    """Every account of a broker."""
    return tuple(numbered(broker, number) for number in range(1, LAST_NUMBER + 1))


@cache
def _by(broker: str, column: str) -> dict[str, SimulatedAccount]:
    return {getattr(account, column): account for account in of(broker)}


def find(broker: str, column: str, value: str) -> SimulatedAccount | None:
    """The account of a broker whose ``column`` (``user_id``, ``api_key``, ``ucc``, ...) is ``value``."""
    return _by(broker, column).get(value)
