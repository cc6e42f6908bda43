"""The documents say what the code does."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mcube.environment import CHECKOUT
from tests.architecture.sources import tracked_files
from tests.support import proofs

PAGES = [path for path in tracked_files() if path.suffix == ".md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")


def test_the_generated_pages_are_current() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/write_docs.py", "--check"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "note",
    [
        "# 0001 Of old\n\n2026-11-22\n\n**Decision.** Yes.\n",
        "# 0002 Another number\n\nDate: 2026-11-22. Status: accepted.\n\n## Question\nWhy?\n\n## Decision\nYes.\n",
        "# 0001 Half-way\n\nDate: 2026-11-22. Status: perhaps.\n\n## Question\nWhy?\n\n## Decision\nYes.\n",
        "# 0001 No answer\n\nDate: 2026-11-22. Status: accepted.\n\n## Question\nWhy?\n\n## Instead of\nNo.\n",
    ],
)
def test_a_decision_in_another_form_is_refused(note: str, tmp_path: Path) -> None:
    (tmp_path / "0001-a-note.md").write_text(note)
    decisions_page = runpy.run_path(str(CHECKOUT / "scripts" / "write_docs.py"))["decisions_page"]
    with pytest.raises(SystemExit, match=r"0001-a-note\.md is not in the form .* Begin it with"):
        decisions_page(tmp_path)


def test_every_capability_was_shown_or_its_refusal() -> None:
    page = (CHECKOUT / "docs" / "capabilities.md").read_text()
    assert not [line for line in page.splitlines() if "not shown" in line]


def test_what_showed_a_capability_is_a_test_that_is_there() -> None:
    gone = [
        proof.test
        for proof in proofs.kept()
        if not (CHECKOUT / proof.file).exists()
        or f"def {proof.test.partition('::')[2]}(" not in (CHECKOUT / proof.file).read_text()
    ]
    assert not gone, "Run the files with --write-proofs, then make docs."


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    targets = LINK.findall((CHECKOUT / page).read_text())
    missing = [target for target in targets if not (CHECKOUT / page.parent / target).exists()]
    assert not missing


def test_the_readme_shows_the_example_programs_as_they_are() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    missing = [
        path.name
        for path in sorted((CHECKOUT / "examples").glob("[a-z]*.py"))
        if f"```python\n{path.read_text()}```" not in readme
    ]
    assert not missing, f"Copy these into README.md anew: {missing}"


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (CHECKOUT / "docs" / "decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))
