"""Which records somebody wants to see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audit import call, denial
from wasmos.errors import UsageError
from wasmos.system.audit.query import Query, moment

NOW = 1_795_685_400.5  # 2026-11-26T09:30:00.5Z

RECORDS: list[dict[str, Any]] = [
    {"event": "open", "time": "2026-11-26T09:00:00.000000Z"},
    {"event": "spawn", "time": "2026-11-26T09:00:01.000000Z", "task": 9, "name": "webapi"},
    {"event": "grant", "time": "2026-11-26T09:00:02.000000Z", "task": 9, "rule": "fs(dir=1)"},
    {**call(), "time": "2026-11-26T09:00:03.000000Z"},
    {**denial(), "time": "2026-11-26T09:00:04.000000Z"},
    {**call(), "task": 19, "name": "9", "service": "fs", "message": "fs.open",
     "time": "2026-11-26T09:00:05.000000Z"},
    {"event": "grant", "decision": "denied", "time": "2026-11-26T09:29:00.500000Z"},
    {},
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"task": "webapi"}, [1, 3, 4]), ({"task": "9"}, [1, 2, 3, 4, 5]), ({"task": "19"}, [5]),
        ({"task": "nobody"}, []), ({"task": "None"}, []),
        ({"events": "denial"}, [4]), ({"events": "open, grant"}, [0, 2, 6]),
        ({"service": "tcpip"}, [3, 4]), ({"service": "fs"}, [2, 5]), ({"service": ""}, []),
        ({"denied": True}, [4, 6]),
        ({"since": "2026-11-26T09:00:03Z"}, [3, 4, 5, 6]), ({"until": "09:00:03"}, [0, 1, 2]),
        ({"since": "1m"}, [6]), ({"since": "1m", "until": "59s"}, [6]), ({"since": "59s"}, []),
        ({"task": "webapi", "denied": True, "since": "09:00"}, [4]),
    ],
)  # fmt: skip
def test_a_query(wanted: dict[str, Any], found: list[int]) -> None:
    query = Query(**wanted, now=NOW)
    assert [at for at, record in enumerate(RECORDS) if query.matches(record)] == found


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-25", "2026-11-25T00:00:00.000000Z"),
        ("2026-11-25T09:30", "2026-11-25T09:30:00.000000Z"),
        ("2026-11-25 09:30:01.5", "2026-11-25T09:30:01.500000Z"),
        ("2026-11-25T09:30:00.123456Z", "2026-11-25T09:30:00.123456Z"),
        ("2026-11-25T09:30:00+02:00", "2026-11-25T07:30:00.000000Z"),
        ("20261125T0930", "2026-11-25T09:30:00.000000Z"),
        ("09:15", "2026-11-26T09:15:00.000000Z"), ("09:15:01Z", "2026-11-26T09:15:01.000000Z"),
        ("90", "2026-11-26T09:28:30.500000Z"), ("2h", "2026-11-26T07:30:00.500000Z"),
    ],
)  # fmt: skip
def test_times(text: str, time: str) -> None:
    assert moment(text, NOW) == time


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "25:00", "-5m", "9e99", "2026-11-25x", "1e9h"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a time like 2026-11-25T09:30 \(UTC\)"):
        moment(text, NOW)


def test_what_is_no_event() -> None:
    with pytest.raises(UsageError) as caught:
        Query(events="call,denail")
    assert str(caught.value) == "no audit event 'denail'; did you mean 'denial'?"
