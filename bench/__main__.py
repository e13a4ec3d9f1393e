"""python -m bench [--quick] [--full] [--row NAME]... [--json PATH]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import report
from bench.cases import CASES
from bench.harness import MIN_ROUNDS, Row, Settings, WrongResultError, last_core

JSON = Path("build/bench.json")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure wasmos against its peers."
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: little work, rough")
    parser.add_argument("--full", action="store_true", help="go to the limits, in memory too")
    parser.add_argument(
        "--row", action="append", default=[], metavar="NAME", help="only cases with NAME in theirs"
    )
    parser.add_argument("--rounds", type=int, default=7, help=f"at least {MIN_ROUNDS}")
    parser.add_argument("--json", type=Path, default=JSON, help=f"default: {JSON}")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    found = parser.parse_args(argv)
    found.cases = [case for case in CASES if _selected(case.name, found.row)]
    if not found.cases:
        parser.error(f"no case is called so; there are: {', '.join(c.name for c in CASES)}")
    return found


def _selected(name: str, wanted: list[str]) -> bool:
    """By a part of a case's name, or by a row's name, which is longer."""
    return not wanted or any(part in name or part.startswith(name) for part in wanted)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    if options.list:
        print("\n".join(case.name for case in options.cases))
        return 0
    settings = Settings(
        quick=options.quick, full=options.full, rounds=options.rounds, core=last_core()
    )
    rows: list[Row] = []
    status = 0
    for case in options.cases:
        print(f"bench: {case.name} …", file=sys.stderr, flush=True)
        try:
            rows += case.run(settings)
        except WrongResultError as error:
            # Being slow is no failure; being wrong is.
            print(f"bench: {case.name}: {error}", file=sys.stderr)
            status = 1
    print(report.table(rows))
    report.write_json(rows, options.json)
    return status


if __name__ == "__main__":
    sys.exit(main())
