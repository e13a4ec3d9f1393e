"""From what a program did to the policy that allows just that.

Law: a line allows what was seen and nothing else. Where it allows more, it says so in its comment,
from how many values, and that happens only where it was asked for or can't be otherwise. The same
observations give the same text, whatever their order.
"""

from __future__ import annotations

from wasmos.errors import RuleError
from wasmos.kernel import Rule, covered
from wasmos.system.policy.edit import INDENT, heading, quoted
from wasmos.system.policy.widen import head, items_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    # One value, or several, for each constrained field.
    Row: TypeAlias = tuple[tuple[str, ...], ...]

MANY = 16  # values of a field that are no longer a list that somebody reads
MAX_COMMENT = 120

HEADER = """\
# What {name} needed in a run of `wasmos learn`, and nothing else. Read it before you use it:
# a program that was allowed everything may have done things that it shouldn't.
#
# The rules name the values that were seen of fields that stand for something: addresses, ports,
# names of hosts, paths and names. Other fields, such as data, offsets and numbers of sockets and
# open files, aren't constrained.
"""


class Need:
    """One thing that was needed.

    rule: the message, and its values. `badge`: what is told to the server. `unsaid`: fields that
    the badge makes superfluous. `comment`: more for people. `is_once`: it was allowed once.
    """

    __slots__ = ("badge", "comment", "is_once", "rule", "unsaid")

    def __init__(
        self, rule: Rule, badge: Mapping[str, str] | None = None, unsaid: tuple[str, ...] = (),
        comment: str = "", is_once: bool = False,
    ) -> None:  # fmt: skip
        self.rule = rule
        self.badge = dict(badge or {})
        self.unsaid = unsaid
        self.comment = comment
        self.is_once = is_once


class Line:
    """A rule of the policy, and its comment."""

    __slots__ = ("comment", "rule")

    def __init__(self, rule: Rule, comment: str) -> None:
        self.rule = rule
        self.comment = comment

    def __repr__(self) -> str:
        return f"<Line {self.rule}  # {self.comment}>"


class _Group:
    """Rules that differ in nothing but the values of fields. `rows`: these values."""

    __slots__ = ("badge", "comments", "keys", "rows", "start", "vocabulary")

    def __init__(self, need: Need) -> None:
        rule = need.rule
        self.start = head(rule)
        self.badge = ", ".join(items_of(Rule(rule.service, badge={**rule.badge, **need.badge})))
        self.keys = tuple(key for key in rule.constraints if key not in need.unsaid)
        self.vocabulary = rule.vocabulary
        self.rows: set[Row] = set()
        self.comments: set[str] = set()

    @property
    def id(self) -> tuple[str, str, tuple[str, ...]]:
        return self.start, self.badge, self.keys

    def add(self, need: Need) -> None:
        values = (tuple(need.rule.constraints[key].values()) for key in self.keys)
        self.rows.add(tuple(values))
        if need.comment:
            self.comments.add(need.comment)


def lines(needs: Iterable[Need], own_name: str = "", *, generalise: bool = False) -> list[Line]:
    """The rules of a policy, in order."""
    groups: dict[tuple[str, str, tuple[str, ...]], _Group] = {}
    for need in _needed(list(needs), own_name):
        group = _Group(need)
        groups.setdefault(group.id, group).add(need)
    return [
        line
        for id in sorted(groups)
        for row in sorted(_merged(groups[id].rows))
        for line in _written(groups[id], row, generalise)
    ]


def text(
    name: str, found: list[Line], *, once: Iterable[Line] = (), deny: Iterable[Rule] = (),
    notes: Iterable[str] = (),
) -> str:  # fmt: skip
    """The policy file. `once`: what it doesn't allow; each is a comment that can be taken in."""
    parts = [HEADER.format(name=_comment(name))]
    noted = [f"#   {_comment(note)}\n" for note in notes]
    if noted:
        parts += ["#\n# Noted, and not allowed here:\n", *noted]
    parts.append(f"\n{heading('task', name)}\n")
    rows = [("", str(line.rule), line.comment) for line in found]
    rows += [("# once: ", str(line.rule), line.comment) for line in once]
    parts.append(_array("allow", rows))
    refused = [("", str(rule), rule.describe().replace("may ", "may never ", 1)) for rule in deny]
    parts.append(_array("deny", refused) if refused else "")
    return "".join(parts)


def _array(key: str, rows: list[tuple[str, str, str]]) -> str:
    """`rows`: what stands before a rule, the rule, and a comment."""
    begun = [(f"{before}{quoted(rule)},", comment) for before, rule, comment in rows]
    width = min(max((len(text) for text, _ in begun), default=0), 60)
    written = [f"{INDENT}{text:{width}}  # {_comment(comment)}\n" for text, comment in begun]
    return f"{key} = [\n{''.join(written)}]\n" if rows else f"{key} = []\n"


def _comment(words: str) -> str:
    """For the end of a line: nothing that begins another one."""
    return "".join(c if c.isprintable() else "?" for c in words)


def _needed(needs: list[Need], own_name: str) -> list[Need]:
    """Without those that others are for, too: who may listen may write to what comes of it."""
    unique = {(str(need.rule), *sorted(need.badge.items())): need for need in needs}
    kept = [unique[key] for key in sorted(unique)]
    near = _covering([need.rule for need in kept])
    for need in list(kept):
        (number,) = need.rule.denied or (None,)
        others = (
            rule
            for at in {number, None}
            for rule in near.get(at, ())
            if rule is not need.rule and rule.service == need.rule.service
        )
        if not need.badge and covered(others, need.rule, own_name):
            kept.remove(need)
            for rules in near.values():
                rules[:] = [rule for rule in rules if rule is not need.rule]
    return kept


def _covering(rules: list[Rule]) -> dict[int | None, list[Rule]]:
    """Those that may be for more than their own message, by the types of what they are for; None:
    all of a service. There may be thousands for exactly one message each: to ask each of them
    about each other would take minutes."""
    most: dict[int | None, int] = {}
    for rule in rules:
        (own,) = rule.denied or (None,)
        most[own] = max(most.get(own, 0), len(rule.constraints))
    found: dict[int | None, list[Rule]] = {}
    for rule in rules:
        (own,) = rule.denied or (None,)
        is_exact = 0 < len(rule.constraints) == most[own]
        for number in rule.messages or (None,):
            if number != own or not is_exact:
                found.setdefault(number, []).append(rule)
    return found


def _merged(rows: set[Row]) -> set[Row]:
    """Fewer lines for the same: those that differ in one field become one."""
    width = len(next(iter(rows), ()))
    for at in reversed(range(width)):
        grown: dict[Row, set[str]] = {}
        for row in rows:
            grown.setdefault((*row[:at], (), *row[at + 1 :]), set()).update(row[at])
        rows = {
            (*rest[:at], tuple(sorted(values)), *rest[at + 1 :]) for rest, values in grown.items()
        }
    return rows


def _written(group: _Group, row: Row, generalise: bool) -> Iterator[Line]:
    """The lines for one row: several only if one would be too long."""
    items, comments = [group.badge] if group.badge else [], sorted(group.comments)
    for key, values in zip(group.keys, row, strict=True):
        if generalise and len(values) > MANY:
            wide = _generalised(key, values)
            items += [f"{key}={wide}"] if wide else []
            comments.append(f"GENERALISED from {len(values)} values of {key}")
        else:
            items.append(f"{key}=[{', '.join(values)}]")
    text = f"{group.start}({', '.join(items)})" if items else group.start
    try:
        rule = Rule.parse(text, group.vocabulary)
    except RuleError:
        for part in _halves(row):
            yield from _written(group, part, generalise)
        return
    said = rule.describe()
    said = said if len(said) <= MAX_COMMENT else said[: MAX_COMMENT - 1] + "…"
    yield Line(rule, "; ".join([said, *comments]))


def _halves(row: Row) -> tuple[Row, Row]:
    """The same in two rows, each with half of the values of the field that has most."""
    at = max(range(len(row)), key=lambda at: len(row[at]))
    half = len(row[at]) // 2
    assert half, "a rule for one message is never too long"
    return (*row[:at], row[at][:half], *row[at + 1 :]), (*row[:at], row[at][half:], *row[at + 1 :])


def _generalised(key: str, values: tuple[str, ...]) -> str:
    """A pattern for all of the values; "" if only every value will do."""
    texts = [value.strip('"') for value in values]
    if not all(value.startswith('"') for value in values):
        return ""
    if key == "hostname":
        domain = _common([text.split(".")[::-1] for text in texts])
        return f'"*.{".".join(domain[::-1])}"' if len(domain) > 1 else ""
    if key == "path":
        folder = _common([text.split("/")[:-1] for text in texts])
        return f'"{"/".join(folder)}/**"' if len(folder) > 1 else ""
    if key == "dst_addr":
        from wasmos.servers.tcpip.addresses import is_public

        return '"any"' if all("/" not in t and is_public(t) for t in texts) else '"all"'
    return ""


def _common(paths: list[list[str]]) -> list[str]:
    first, last = min(paths), max(paths)
    size = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[: min(len(first), len(last)) if size is None else size]
