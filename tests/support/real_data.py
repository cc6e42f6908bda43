"""What brokers and exchanges publish, as it was on a day, for who has it: masters and holiday lists, which are not shipped.

A folder with ``breeze/`` (``SecurityMaster-YYYY-MM-DD.zip``), ``kotak-neo/`` (the scrip master files) and ``holidays/``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.processes import CHECKOUT

FOLDER = Path(os.environ.get("MCUBE_TEST_DATA") or CHECKOUT.parent / "shared" / "data")
BREEZE, KOTAKNEO, HOLIDAYS = FOLDER / "breeze", FOLDER / "kotak-neo", FOLDER / "holidays"


def needed(*paths: Path) -> pytest.MarkDecorator:
    """Skips a test where one of ``paths`` is not there, and says what would bring it back."""
    missing = ", ".join(path.name for path in paths if not path.exists())
    return pytest.mark.skipif(bool(missing), reason=f"MCUBE_TEST_DATA names no folder with {missing}.")
