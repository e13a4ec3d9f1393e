"""The page of attacks says what this run has seen."""

from __future__ import annotations

from tests.attacks import table
from tests.attacks.attack import SEEN, Seen


def _of(*, name: str = "a | b", case: str = "", line: str = "audit: x") -> Seen:
    return Seen("ids", "test_every_task_id", name, "how", case, line)


def test_the_page_is_fresh() -> None:
    """As far as attacks were played in this run, which may be a part of them."""
    written = table.PAGE.read_text(encoding="utf-8")
    for text in table.rows(SEEN.values()).values():
        _, how, line = text.split(" | ", 2)
        end = f"{how} | {line} |\n"
        assert end in written, f"stale: run python -m tests.attacks.table: {text}"
    if f" in {len(SEEN)} forms.\n" in written:
        assert table.page(SEEN.values()) == written, "stale: run python -m tests.attacks.table"


def test_there_are_enough() -> None:
    written = table.PAGE.read_text(encoding="utf-8").splitlines()
    attacks = [line for line in written if line.startswith("| ") and line[2:3].isdigit()]
    assert len(attacks) >= 100
    paths = written[written.index("## Paths") : written.index("## Network")]
    assert sum(line.startswith("|  | `") for line in paths) >= 40


def test_what_differs_from_run_to_run_is_left_out() -> None:
    line = "audit: denial evil[7] vm.destroy_task(task=12) server grant 34 (policy.toml:3) x512"
    assert table.normal(line) == (
        "audit: denial evil vm.destroy_task(task=N) server grant N (policy.toml:3) xN"
    )
    assert table.normal("event: lost evil[2] to victim[12] ping: invalid task") == (
        "event: lost evil to victim ping: invalid task"
    )


def test_cells_stay_cells() -> None:
    [row] = table.rows([_of(line="a | b `c`")]).values()
    assert row == "a \\| b | how | `` a \\| b `c` ``"


def test_a_page() -> None:
    text = table.page([_of(), _of(case="x")])
    assert "1 attacks in 2 forms" in text
    assert "| 1 | a \\| b | how | `audit: x` |" in text
