"""Which records somebody wants to see.

Law: a word that can't be right (an event that there isn't, a time that is none) is an error with
the nearest right one; a name that could be somebody's simply finds nothing.
"""

from __future__ import annotations

import re

from wasmos.errors import UsageError
from wasmos.system.audit.schema import EVENTS
from wasmos.system.units import nearest, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmos.system.audit.schema import Record

    Test = Callable[[Record], bool]

A_TIME = "a time like 2026-11-25T09:30 (UTC), 09:30 (today) or 5m (ago)"


class Query:
    """Tests that all have to say yes. `now` is seconds since the epoch."""

    def __init__(
        self,
        *,
        task: str | None = None,
        events: str | None = None,
        service: str | None = None,
        since: str | None = None,
        until: str | None = None,
        denied: bool = False,
        now: float = 0.0,
    ) -> None:
        tests: list[Test] = []
        if task is not None:
            tests.append(lambda record: task in (str(record.get("task", "")), record.get("name")))
        if events is not None:
            wanted = _events(events)
            tests.append(lambda record: record.get("event") in wanted)
        if service is not None:
            tests.append(lambda record: service in _services(record))
        if since is not None:
            begin = moment(since, now)
            tests.append(lambda record: str(record.get("time", "")) >= begin)
        if until is not None:
            end = moment(until, now)
            tests.append(lambda record: "" < str(record.get("time", "")) < end)
        if denied:
            tests.append(
                lambda record: record.get("event") == "denial" or record.get("decision") == "denied"
            )
        self._tests = tests

    def matches(self, record: Record) -> bool:
        return all(test(record) for test in self._tests)


def moment(text: str, now: float) -> str:
    """A time as people write it, in the form of the log, whose times can be compared as texts.
    Raises UsageError."""
    from datetime import UTC, datetime, timedelta

    today = datetime.fromtimestamp(now, UTC)
    try:
        if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?Z?", text):
            text = f"{today:%Y-%m-%d}T{text}"
        if re.match(r"\d{4}-?\d\d-?\d\d", text):
            found = datetime.fromisoformat(text)
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        else:
            found = today - timedelta(seconds=seconds(text))
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is not {A_TIME}") from None
    return f"{found:%Y-%m-%dT%H:%M:%S.%f}Z"


def _events(text: str) -> set[str]:
    found = {word.strip() for word in text.split(",")}
    for word in sorted(found):
        if word not in EVENTS:
            raise UsageError(f"no audit event {word!r}; {nearest(word, EVENTS)}")
    return found


def _services(record: Record) -> set[object]:
    """What a record is about: it may have a message only, or a rule that tells."""
    text = record.get("message") or record.get("rule") or ""
    first = re.split(r"[.( ]", text, maxsplit=1)[0] if isinstance(text, str) else ""
    named = record.get("service")
    return {word for word in (first, named) if isinstance(word, str) and word}
