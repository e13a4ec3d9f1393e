"""`wasmos audit`: what was asked and decided, from the log; is it whole, and why was it so?"""

from __future__ import annotations

import os
import sys
import time
from collections import deque

from wasmos.cli import EXIT_USAGE, fail, say, shown
from wasmos.errors import UsageError
from wasmos.system.audit.explain import explain
from wasmos.system.audit.files import QUIET
from wasmos.system.audit.query import Query
from wasmos.system.audit.reader import Follower, read
from wasmos.system.audit.show import show
from wasmos.system.audit.verify import MIN_HEAD, verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from wasmos.system.audit.reader import Line
    from wasmos.system.audit.schema import Record
    from wasmos.system.audit.verify import Report

VERSION = 1
EXIT_DAMAGED = 1
DEFAULT = "audit.jsonl"
POLL_SECONDS = 0.2
NOT_CLOSED = (
    "the last line is no close: the system still runs or was killed, or the end was cut off"
)
RECENT = 10  # lines that --follow begins with


def main(options: argparse.Namespace) -> int:
    if options.follow and options.file is None:
        return _follow_system(options)
    if options.system is not None:
        raise UsageError("--system belongs to --follow without a file")
    options.file = options.file or DEFAULT
    if options.verify:
        return _verify(options)
    if options.explain is not None:
        return _explain(options)
    return _list(options)


def poll() -> bool:
    time.sleep(POLL_SECONDS)
    return True


# --- records ----------------------------------------------------------------------------------


def _query(options: argparse.Namespace) -> Query:
    return Query(
        task=options.task, events=options.event, service=options.service, since=options.since,
        until=options.until, denied=options.denied, now=time.time(),
    )  # fmt: skip


def _follow_system(options: argparse.Namespace) -> int:
    """What a running system does from now on; calls only if they are asked for by name."""
    from wasmos.system.control import client

    query = _query(options)
    calls = "call" in (options.event or "").split(",")
    with client.connect(options.system) as system:
        for record in filter(query.matches, system.records(calls=calls)):
            _print([record], options.output)
    return 0


def _list(options: argparse.Namespace) -> int:
    query = _query(options)
    if options.head is not None:
        raise UsageError("--head belongs to --verify")
    if not options.follow:
        found = filter(query.matches, read(options.file, _damaged))
        if not _print(_last(found, options.number), options.output) and options.number != 0:
            say("note: no such lines")
        return 0
    with Follower(options.file, history=True) as follower:
        number = RECENT if options.number is None else options.number
        _print(_last(filter(query.matches, follower.records(_damaged)), number), options.output)
        while poll():
            _print(filter(query.matches, follower.records(_damaged)), options.output)
    return 0


def _last(records: Iterator[Record], number: int | None) -> Iterable[Record]:
    return records if number is None else deque(records, number)


def _print(records: Iterable[Record], output: str) -> int:
    """How many there were."""
    import json

    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007 - the last one
        if output == "json":
            # As it was written, but what somebody else wrote plays no tricks either.
            print(json.dumps(record, separators=(",", ":")))
        else:
            print(shown(show(record)))
    sys.stdout.flush()
    return count


def _damaged(line: Line) -> None:
    what = "the line has no end" if line.is_torn else "not a record"
    say(f"note: {line}: {what}; see wasmos audit --verify")


def _explain(options: argparse.Namespace) -> int:
    lines = explain(options.file, options.explain, _damaged)
    if lines is None:
        return fail(f"{options.file} has no line with number {options.explain}", EXIT_USAGE)
    if options.output == "json":
        raise UsageError("--explain is text for people; -o json shows the records themselves")
    for line in lines:
        print(shown(line))
    return 0


# --- the chain --------------------------------------------------------------------------------


def _verify(options: argparse.Namespace) -> int:
    head = options.head
    if head is not None and (len(head) < MIN_HEAD or head.strip("0123456789abcdef")):
        raise UsageError(f"a head is at least {MIN_HEAD} hexadecimal digits: --verify prints one")
    report = verify(options.file, head)
    if options.output == "json":
        _print_document(report)
    else:
        _print_report(report, options.file, head)
    return 0 if report.ok else EXIT_DAMAGED


def _print_document(report: Report) -> None:
    import json

    document = {
        "version": VERSION, "ok": report.ok, "files": report.files, "lines": report.lines,
        "first": report.first, "last": report.last, "rotated_away": report.rotated_away,
        "head": report.head, "torn": report.torn, "has_head": report.has_head,
        "damaged": report.damaged,
        "damage": [{"file": d.file, "line": d.line, "what": d.what} for d in report.damage],
        "closed": report.is_closed,
    }  # fmt: skip
    print(json.dumps(document, indent=2))


def _print_report(report: Report, file: str, head: str | None) -> None:
    for damage in report.damage:
        print(shown(f"{damage}"))
    if report.damaged > len(report.damage):
        print(f"and {report.damaged - len(report.damage)} more")
    files = "1 file" if len(report.files) == 1 else f"{len(report.files)} files"
    state = f"{report.damaged} DAMAGED" if report.damaged else "unbroken"
    numbers = f"numbers {report.first} to {report.last}" if report.lines else "nothing"
    print(shown(f"{file}: {report.lines} lines in {files}, {numbers}: {state}"))
    if report.rotated_away:
        print(f"  begins at line {report.first}; older lines were rotated away")
        if os.path.exists(quiet := file + QUIET):
            print(shown(f"  of these, {quiet} may have all but calls and denials"))
    if report.torn:
        print(
            f"  {report.torn} bytes at the end are no line yet: being written, or torn by a crash"
        )
    if report.lines and not report.is_closed:
        print(f"  {NOT_CLOSED}")
    print(f"  head {report.head}")
    if report.has_head is not None:
        print(shown(f"  {_about_head(report, str(head))}"))


def _about_head(report: Report, head: str) -> str:
    if report.has_head:
        return f"the line {head} is there"
    return f"the line {head} is NOT there: lines were cut off, or its file is gone"
