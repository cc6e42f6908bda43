"""What the wire saw of one call: kept with an attempt, so that an outcome is proved and not guessed."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class WireEvidence:
    """Facts of one HTTP call. Holds no header, body or secret."""

    method: str
    #: Host and path; never a query string.
    target: str
    started_at: datetime
    #: When the first byte was handed to the socket; None proves that nothing left this machine.
    first_byte_at: datetime | None
    finished_at: datetime
    http_status: int | None
    content_type: str = ""
    #: SHA-256 of the reply's body, hex; empty when no complete body was read.
    body_sha256: str = ""
    #: Class names of the exception chain, outermost first; empty when a complete reply came.
    exceptions: tuple[str, ...] = ()
    #: Value of the reply's ``Date`` header, for clock skew.
    server_date: str = ""

    @property
    def left_this_machine(self) -> bool:
        return self.first_byte_at is not None
