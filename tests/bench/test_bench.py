"""The harness measures in turns, judges as documented, and writes the documented shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import harness, report
from bench.cases import CASES
from bench.harness import Aim, Row, Settings, WrongResultError

KEYS = ["row", "ours", "peer", "peer_value", "unit", "ratio", "aim", "met"]


def entry(row: Row) -> dict[str, object]:
    return report.document([row])["rows"][0]


# --- measuring ---


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def side(name: str, times: list[float]) -> harness.Measure:
        def measure() -> float:
            turns.append(name)
            return times.pop(0)

        return measure

    medians = harness.interleave([side("a", [9, 1, 5, 2]), side("b", [9, 7, 7, 1])], 3)
    assert medians == [2, 7]
    assert "".join(turns) == "baabbaab"


def test_a_wrong_result_is_no_measurement() -> None:
    with pytest.raises(WrongResultError, match="sum: 41 instead of 42"):
        harness.check(41, 42, "sum")


@pytest.mark.parametrize("quick", [False, True])
def test_there_are_never_fewer_than_five_rounds(quick: bool) -> None:
    assert Settings(quick=quick, rounds=1).turns() >= 5


def test_pinning_ends_where_it_should() -> None:
    os = pytest.importorskip("os")
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system can't pin")
    before = os.sched_getaffinity(0)
    core = harness.last_core()
    with harness.one_core(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


# --- judging ---


@pytest.mark.parametrize(
    ("aim", "ours", "peer", "ratio", "met"),
    [
        (Aim(">=", 80), 41e-9, 5.1e-6, 124.39, True),
        (Aim(">=", 80), 100e-9, 5.1e-6, 51.0, False),
        (Aim("<=", 1.02), 1.0, 1.0, 1.0, True),
        (Aim("<=", 1.02), 1.1, 1.0, 1.1, False),
        (Aim("<=", None), 1.1, 1.0, 1.1, None),
    ],
)
def test_judgement(aim: Aim, ours: float, peer: float, ratio: float, met: bool | None) -> None:
    row = Row("row", ours, "peer", peer, aim)
    assert row.ratio == pytest.approx(ratio, rel=1e-3)
    assert row.met is met


@pytest.mark.parametrize(("ours", "met"), [(0.4e-6, True), (0.5e-6, False)])
def test_alone_only_where_the_peer_is_missing(ours: float, met: bool) -> None:
    aim = Aim("<=", 1.0, alone=0.45e-6)
    alone = Row("row", ours, "erlang", None, aim, install="apt install erlang-base")
    assert (alone.met, alone.aim_text) == (met, "<= 4.5e-07 s")
    assert Row("row", ours, "erlang", 1.0, aim).aim_text == "<= 1"


# --- reporting ---


def test_a_row_in_the_file() -> None:
    found = entry(Row("ipc passive 32B", 41e-9, "pipe same core", 5.1e-6, Aim(">=", 80)))
    assert found == {
        "row": "ipc passive 32B",
        "ours": 41e-9,
        "peer": "pipe same core",
        "peer_value": 5.1e-6,
        "unit": "s",
        "ratio": 124.3902,
        "aim": ">= 80",
        "met": True,
    }
    assert list(found) == KEYS


def test_a_missing_peer_is_null_and_says_how_to_install_it() -> None:
    row = Row("row", 1.0, "erlang", None, Aim("<=", 1), install="apt install erlang-base")
    found = entry(row)
    assert (found["peer_value"], found["ratio"], found["met"]) == (None, None, None)
    assert found["install"] == "apt install erlang-base"
    assert "apt install erlang-base" in report.table([row])


def test_what_could_not_be_measured_is_null() -> None:
    row = Row("row", None, "node", 0.05, Aim("<=", 1), note="there is no such thing yet")
    found = entry(row)
    assert (found["ours"], found["ratio"], found["met"]) == (None, None, None)
    assert "not available" in report.table([row])
    assert "there is no such thing yet" in report.table([row])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (41e-9, "s", "41 ns"),
        (5.12e-6, "s", "5.12 us"),
        (1.5, "s", "1.5 s"),
        (21811, "tasks", "21,811"),
        (None, "s", "-"),
    ],
)
def test_amounts(value: float | None, unit: str, text: str) -> None:
    assert report.amount(value, unit) == text


# --- the command ---


def test_names_of_rows_select_their_case() -> None:
    def selected(*rows: str) -> list[str]:
        argv = [word for row in rows for word in ("--row", row)]
        return [case.name for case in command.arguments(argv).cases]

    assert selected() == [case.name for case in CASES]
    assert selected("ipc passive 32B") == ["ipc passive"]
    assert selected("compute", "check") == ["the check itself", "compute"]
    with pytest.raises(SystemExit):
        selected("nothing is called so")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_every_case_runs_quickly(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bench.json"
    assert command.main(["--quick", "--row", name, "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert written["machine"]["cores"] >= 1
    assert written["rows"]
    for row in written["rows"]:
        assert [key for key in row if key != "install"] == KEYS
        assert row["row"].startswith(name)
        assert ("install" in row) == (row["peer_value"] is None)
        assert row["ours"] is None or row["ours"] > 0
    assert name in capsys.readouterr().out


def test_peers_that_are_not_installed_are_null(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    path = tmp_path / "bench.json"
    names = ["ipc passive", "ipc active", "wasmos run hello"]
    argv = [word for name in names for word in ("--row", name)]
    assert command.main(["--quick", "--json", str(path), *argv]) == 0
    rows = json.loads(path.read_text())["rows"]
    missing = {row["peer"]: row["install"] for row in rows if row["peer_value"] is None}
    assert missing == {
        "pipe same core": "apt install gcc",
        "pipe 1040B same core": "apt install gcc",
        "erlang ping-pong": "apt install erlang-base",
        "node:wasi": "apt install nodejs",
    }
    assert "apt install erlang-base" in capsys.readouterr().out


def test_wrong_results_end_the_run_with_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(_: Settings) -> list[Row]:
        raise WrongResultError("41 instead of 42")

    monkeypatch.setattr(command, "CASES", (type(CASES[0])("broken", wrong),))
    assert command.main(["--json", str(tmp_path / "bench.json")]) == 1
    assert "41 instead of 42" in capsys.readouterr().err
