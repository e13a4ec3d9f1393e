"""Rules in files: a badge has to mean something to its server."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from wasmos.errors import RuleError
from wasmos.kernel import Rule
from wasmos.system.policy.rights import beneath, check_badge, from_here


@pytest.mark.parametrize(
    "rule",
    [
        "clock",
        'clock(at="2026-01-02T03:04:05")',
        'clock.clock_get(at="12.5")',
        'random(seed="")',
        'random(seed="any text")',
        'tcpip.listen(bind="8080", listen_port=80)',
    ],
)
def test_badges_that_mean_something(rule: str) -> None:
    check_badge(Rule.parse(rule))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ('clock(at="noon")', "clock: at 'noon' is no time; write at=\"2026-01-02T03:04:05\""),
        ('clock(at="1969-12-31")', "out of range; there are the years 1970 to 2262"),
        ('tcpip.listen(bind="eighty")', "'eighty' is no port"),
    ],
)
def test_badges_that_mean_nothing(rule: str, error: str) -> None:
    with pytest.raises(RuleError) as caught:
        check_badge(Rule.parse(rule))
    assert error in str(caught.value)


@pytest.mark.parametrize("mode", ["", ', mode="ro"', ', mode="overlay"'])
def test_archives_and_what_is_laid_over_them(tmp_path: Path, mode: str) -> None:
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as archive:
        archive.writestr("a", "text")
    check_badge(beneath(str(tmp_path), Rule.parse(f'fs(archive="lib.zip", at="/lib"{mode})')))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ('fs(archive="none.zip")', "no such file"),
        ('fs(archive="text")', "text': neither a directory nor a zip or tar file"),
        ('fs(archive="text", dir="/")', "archive"),
        ('fs(archive="text", mode="rw")', "an archive stays as it is"),
        ('fs(mode="overlay")', "overlay is for a dir or an archive"),
    ],
)
def test_archives_that_show_nothing(tmp_path: Path, rule: str, error: str) -> None:
    """It is said when the rule is read, not when the program looks."""
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(RuleError) as caught:
        check_badge(beneath(str(tmp_path), Rule.parse(rule)))
    assert error in str(caught.value)


@pytest.mark.parametrize("key", ["dir", "archive"])
def test_what_is_of_the_host_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """From the file's folder, or from where one is; and nothing else of the rule changes."""
    rule = f'fs.stat({key}="sub/x", at="/x", path="/x/**") 3 times'
    wanted = f'fs.stat({key}="{tmp_path}/sub/x", at="/x", path="/x/**") 3 times'
    assert str(beneath(str(tmp_path), Rule.parse(rule))) == str(Rule.parse(wanted))
    monkeypatch.chdir(tmp_path)
    assert from_here(rule) == str(Rule.parse(wanted))
    (tmp_path / "far" / "away").mkdir(parents=True)
    os.symlink("far/away", tmp_path / "link")
    found = beneath(str(tmp_path), Rule.parse(f'fs({key}="link/../x")'))
    assert found.badge[key] == f"{tmp_path}/far/x"
    absolute = Rule.parse(f'fs({key}="/srv/x")')
    assert beneath(str(tmp_path), absolute) is absolute
