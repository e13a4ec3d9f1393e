"""Sizes, times and names as people write them."""

from __future__ import annotations

import pytest

from wasmos.system import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        (1, 1),
        ("1B", 1),
        ("1k", 1024),
        ("1K", 1024),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1.5MiB", 3 << 19),
        (" 2 mb ", 2_000_000),
        ("1G", 1 << 30),
        ("1tib", 1 << 40),
        ("1e3", 1000),
        ("1048576TiB", 1 << 60),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert units.size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5", 5),
        (5, 5),
        (0.25, 0.25),
        ("5s", 5),
        ("30d", 30 * 86_400),
        ("250ms", 0.25),
        ("3us", 3e-6),
        ("7ns", 7e-9),
        ("2m", 120),
        ("2 min", 120),
        ("1.5h", 5400),
        ("1E9", 1e9),
    ],
)
def test_times(text: str | float, seconds: float) -> None:
    assert units.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "k",
        "1x",
        "-1",
        "-0.1s",
        "1 2",
        "1,5k",
        "0x10",
        "nan",
        "inf",
        "-inf",
        "1e",
        "1..2k",
        "1s",
        "True",
        "[1]",
        "1kk",
        "\N{SUPERSCRIPT TWO}k",
        "1\0k",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size like 64MiB$"):
        units.size(text)


@pytest.mark.parametrize(
    "text", ["", "s", "5x", "-5s", "nan", "infs", "1:30", "5 s s", "1KiB", "1w"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time like 5s or 250ms$"):
        units.seconds(text)


@pytest.mark.parametrize("text", ["1e30", "9" * 30, "1048577TiB", "1e999", "9" * 5000])
def test_more_than_the_kernel_can_count(text: str) -> None:
    with pytest.raises(ValueError, match=r"is too much$"):
        units.size(text)
    with pytest.raises(ValueError, match=r"is too much$|is not a time"):
        units.seconds(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 << 20, "64.0 MiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_sizes_for_people(value: int, shown: str) -> None:
    assert units.show_size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.00 us"), (3e-6, "3.00 us"), (0.25, "250.00 ms"), (75, "75.00 s")]
)
def test_times_for_people(value: float, shown: str) -> None:
    assert units.show_time(value) == shown


def test_the_nearest_name() -> None:
    assert units.nearest("consol", ("console", "args")) == "did you mean 'console'?"
    assert units.nearest("x", ("console", "args")) == "there are: console, args"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (1024, "1KiB"), (1536, "1536"), (128 << 20, "128MiB"), (3 << 30, "3GiB")],
)
def test_a_size_is_written_so_that_it_is_read_again(value: int, text: str) -> None:
    assert units.written_size(value) == text
    assert units.size(text) == value
