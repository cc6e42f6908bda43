"""What the environment's bad values are answered with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcube import environment, secrets


@pytest.mark.parametrize("variable", ["DATABASE_URL", "MCUBE_REDIS_URL"])
def test_a_bad_address_is_named_without_its_password(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "mysql://trader:planted@127.0.0.1/mcube")
    with pytest.raises(SystemExit) as stopped:
        environment.load()
    assert str(stopped.value).startswith(f"{variable}: write ")
    assert "planted" not in str(stopped.value)


def test_a_bad_value_that_is_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUBE_WEB_PORT", "http")
    with pytest.raises(SystemExit, match=r"^MCUBE_WEB_PORT: 'http': "):
        environment.load()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(SystemExit, match=r"^MCUBE_HOME: .*file/keys/one cannot be used: .*set MCUBE_HOME"):
        secrets.keep(taken / "keys" / "one", lambda: "secret")


def test_paper_trading_is_refused_until_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUBE_MODE", "paper")
    with pytest.raises(SystemExit, match=r"MCUBE_MODE: 'paper': paper trading is not built yet"):
        environment.load()


def test_the_public_address_is_one_that_links_can_be_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUBE_PUBLIC_URL", "https://mcube.example.com/")
    assert environment.load().public_url == "https://mcube.example.com"
    for bad in ("mcube.example.com", "ftp://mcube.example.com", "https://mcube.example.com/admin"):
        monkeypatch.setenv("MCUBE_PUBLIC_URL", bad)
        with pytest.raises(SystemExit, match="MCUBE_PUBLIC_URL: write https://host"):
            environment.load()


@pytest.mark.parametrize(
    ("whole", "minutes", "shown", "kept"), [(None, "3", 3, 7), ("91", None, 90, 91), ("10", "9", 9, 10)]
)
def test_snapshots_do_not_go_before_they_are_thinned(
    whole: str | None, minutes: str | None, shown: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MCUBE_KEEP_SNAPSHOTS_DAYS", whole), ("MCUBE_KEEP_MINUTES_DAYS", minutes)):
        if value:
            monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        environment.load()
    assert re.fullmatch(
        rf"MCUBE_KEEP_MINUTES_DAYS: '?{shown}'?: every snapshot is kept for {kept} days; write so many or more, or lower "
        r"MCUBE_KEEP_SNAPSHOTS_DAYS\.",
        str(stopped.value),
    )
    monkeypatch.setenv("MCUBE_KEEP_MINUTES_DAYS", str(kept))
    assert environment.load().keep_minutes_days == kept


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/exe", "/etc", "/no/such/../file"])
def test_a_file_setting_that_holds_no_secret_is_one_sentence(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCUBE_SECRET_KEY_FILE", path)
    with pytest.raises(SystemExit, match=rf"^MCUBE_SECRET_KEY_FILE: cannot read {path}: "):
        environment.load()


def test_a_file_setting_is_read_without_the_space_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("planted\n")
    monkeypatch.setenv("MCUBE_SECRET_KEY_FILE", str(tmp_path / "key"))
    assert environment.load().secret_key.get_secret_value() == "planted"
