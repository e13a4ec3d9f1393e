"""Rules: what a capability allows, as a value.

Law: a rule is its canonical text; reading that gives the same rule. It grants nothing by itself and
knows no task: whoever holds it comes as `own_name` where that matters. Where one rule is said to
cover another, it does, whatever the message; the other way round, it can be missed.

    console                                   every message of the service
    tcpip.listen(listen_port=80)              one message, with a field constrained
    fs(dir="/srv/data", mode="ro")            what the grant means to the server
    tcpip.connect(dst_port=443) for 60s       as long as that
    *                                         every message, and no badge: those are named

Most rules name a service and nothing else; for these nothing else is imported or built.
"""

from __future__ import annotations

from types import MappingProxyType

from wasmos import abi
from wasmos.kernel.vocabulary import WITH_DEFAULT, Vocabulary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, TypeAlias

    from wasmos.kernel.constraint import Constraint, Test

    # A message, or its type and the fields that aren't 0.
    Sent: TypeAlias = abi.Message | tuple[int, Mapping[str, object]]

EVERYTHING = "*"
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_ZEROS: dict[int, object] = {abi.CSTR: "", abi.BYTES: b""}


class Rule:
    """Immutable; equal to every rule of the same canonical text.

    service: the service's name; "*" for all of them.
    message: the message's short name; None for all.
    constraints: by what stands before the "=": `dst_port`, `len(data)`.
    badge: what the server is told.
    uses, seconds: how often and for how long; None without such an end.
    """

    __slots__ = (
        "_ns", "_request", "_text", "_vocabulary", "badge", "constraints", "service", "uses",
    )  # fmt: skip

    service: str
    constraints: Mapping[str, Constraint]
    badge: Mapping[str, str]
    uses: int | None
    _ns: int | None
    _request: type[abi.Message] | None
    _vocabulary: Vocabulary | None
    _text: str

    def __init__(
        self,
        service: str,
        request: type[abi.Message] | None = None,
        constraints: Mapping[str, Constraint] = _NOTHING,
        badge: Mapping[str, str] = _NOTHING,
        uses: int | None = None,
        ns: int | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """From parts that fit each other; `parse` is what checks them."""
        put = object.__setattr__
        put(self, "service", service)
        put(self, "constraints", constraints)
        put(self, "badge", badge)
        put(self, "uses", uses)
        put(self, "_ns", ns)
        put(self, "_request", request)
        put(self, "_vocabulary", vocabulary)
        put(self, "_text", "")

    @classmethod
    def parse(cls, text: str, vocabulary: Vocabulary | None = None) -> Rule:
        """Raises RuleError."""
        if text.__class__ is str and (text == EVERYTHING or _is_plain(text)):
            return cls(text, vocabulary=vocabulary)
        from wasmos.kernel.rule_meaning import understand

        return understand(text, vocabulary or Vocabulary.default())

    def replace(self, *, uses: int | None, seconds: float | None) -> Rule:
        """The same right with another lifetime. Raises UsageError for what is none."""
        from wasmos.kernel.rule_text import check_lifetime

        ns = None if seconds is None else max(1, round(seconds * 1e9))
        check_lifetime(uses, ns)
        return Rule(
            self.service, self._request, self.constraints, self.badge, uses, ns, self._vocabulary
        )

    @property
    def pattern_tokens(self) -> int:
        """How long its patterns with wildcards in the middle are in all: these are compared one
        by one, where everything else is looked up."""
        found = 0
        for constraint in self.constraints.values():
            test = constraint.test()
            if test[0] == "text":
                found += sum(len(tokens) for kind, tokens in test[4] if kind == "like")
        return found

    @property
    def alternatives(self) -> int:
        """How many values, ranges and patterns it lists."""
        return sum(len(constraint.test()[-1]) for constraint in self.constraints.values())

    @property
    def bare(self) -> Rule:
        """The same right, without what it stands for at the server."""
        if not self.badge:
            return self
        return Rule(self.service, self._request, self.constraints, _NOTHING, self.uses, self._ns,
                    self._vocabulary)  # fmt: skip

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary or Vocabulary.default()

    @property
    def message(self) -> str | None:
        if self._request is None:
            return None
        return self.vocabulary.short(self.service, self._request)

    @property
    def seconds(self) -> float | None:
        return None if self._ns is None else self._ns / 1e9

    @property
    def messages(self) -> frozenset[int] | None:
        """The types of the messages that it allows. None: all, also those nobody has heard of."""
        return None if self._request is None else self.vocabulary.covers(self._request.TYPE)

    @property
    def denied(self) -> frozenset[int] | None:
        """The same if it is there to deny: who may not open may still write to what is open."""
        return None if self._request is None else frozenset((self._request.TYPE,))

    def tests(self, own_name: str = "", *, deny: bool = False) -> dict[int, tuple[Test, ...]]:
        """What the kernel has to check, by the type of the message, if there is anything.

        A rule that denies has no defaults: what it doesn't speak of, it denies whatever the value.
        """
        checks = (
            (number, self.checks(number, own_name, deny=deny)) for number in self._tested(deny)
        )
        return {number: tuple(c.test() for c in found) for number, found in checks if found}

    def checks(
        self, number: int, own_name: str = "", *, deny: bool = False
    ) -> tuple[Constraint, ...]:
        """What it demands of messages of a type that it is for: of their fields, in order."""
        message = self._tested_message(number)
        if message is None:
            return ()
        own = self.constraints if message is self._request else _NOTHING
        return tuple(_demands(message, own, None if deny else own_name))

    def admits(self, sent: Sent, own_name: str = "", *, deny: bool = False) -> bool:
        """Whether it is for this message to its service. With `deny`: whether it denies it."""
        if self.service == EVERYTHING:
            return True
        number = sent.TYPE if isinstance(sent, abi.Message) else sent[0]
        types = self.denied if deny else self.messages
        if types is not None and number not in types:
            return False
        checks = self.checks(number, own_name, deny=deny)
        return all(check.admits(value_of(sent, check.field), deny) for check in checks)

    def covers(self, other: Rule, own_name: str = "", other_name: str | None = None) -> bool:
        """Whether it certainly allows everything that `other` does. `other_name`: the holder of
        that one, if it isn't the same."""
        return self._may_cover(other) and covered((self,), other, own_name, other_name)

    def steps(self, other: Rule) -> int:
        """How many steps of comparing constraints `covers` takes at most, about."""
        both = self.constraints.keys() & other.constraints.keys()
        return sum(self.constraints[key].steps(other.constraints[key]) for key in both)

    def describe(self) -> str:
        """In English: "may listen on port 80 (tcpip)"."""
        from wasmos.kernel.rule_text import quote, show_lifetime
        from wasmos.kernel.spoken import SPOKEN

        badge = ", ".join(f"{name} {quote(value)}" for name, value in self.badge.items())
        badge = badge and f" with {badge}"
        lifetime = show_lifetime(self.uses, self._ns)
        service = self._shown_service()
        if self._request is None:
            what = "everything" if service == EVERYTHING else service
            return f"may use {what}{badge}{lifetime}"
        verb = SPOKEN.get(self._request.NAME) or (self.message or "").replace("_", " ")
        demands = "".join(f" {check.describe()}" for check in self.checks(self._request.TYPE))
        return f"may {verb}{demands} ({service}{badge}){lifetime}"

    def _covers_type(self, other: Rule, number: int | None, names: tuple[str, str]) -> bool:
        """Whether it allows what `other` does of one type; None: of types nobody has heard of."""
        if not self._is_for_all_that(other):
            return False
        if self.service == EVERYTHING:
            return True
        if number is None:
            return self._request is None
        if self.messages is not None and number not in self.messages:
            return False
        theirs = {check.key: check for check in other.checks(number, names[1])}
        return all(
            check.is_open or (check.key in theirs and check.covers(theirs[check.key]))
            for check in self.checks(number, names[0])
        )

    def _may_cover(self, other: Rule) -> bool:
        """False for most that don't, and soon: a task is to ask this of all that it holds."""
        if not self._is_for_all_that(other) or (self._request is not None) > (
            other._request is not None
        ):
            return False
        theirs = other.constraints if self._request is other._request else _NOTHING
        return all(
            mine.covers(theirs[key]) for key, mine in self.constraints.items() if key in theirs
        )

    def _is_for_all_that(self, other: Rule) -> bool:
        """Service, badge and lifetime."""
        return (
            (self.uses is None or (other.uses is not None and other.uses <= self.uses))
            and (self._ns is None or (other._ns is not None and other._ns <= self._ns))
            and self.service in (EVERYTHING, other.service)
            and _badge_covers(self.badge, other.badge)
        )

    def _tested(self, deny: bool) -> Iterable[int]:
        if self.service == EVERYTHING:
            return ()
        if self._request is not None:
            return sorted((self.denied if deny else self.messages) or ())
        return () if deny else self.vocabulary.guarded(self.service)

    def _tested_message(self, number: int) -> type[abi.Message] | None:
        if self.service == EVERYTHING:
            return None
        message = self.vocabulary.message(number)
        if self._request is not None or message is None:
            return message
        return message if message.NAME in self.vocabulary.takes(self.service) else None

    def _written(self) -> str:
        text = self._shown_service()
        if not (self._request or self.badge or self.uses or self._ns):
            return text
        from wasmos.kernel.rule_text import quote, show_lifetime

        if self._request is not None:
            text += f".{self.message}"
        items = [f"{name}={quote(value)}" for name, value in self.badge.items()]
        items += map(str, self.constraints.values())
        text += f"({', '.join(items)})" if items else ""
        return text + show_lifetime(self.uses, self._ns)

    def _shown_service(self) -> str:
        if self.service == EVERYTHING or _is_plain(self.service):
            return self.service
        from wasmos.kernel.rule_text import quote

        return quote(self.service)

    def __copy__(self) -> Rule:
        return self

    def __deepcopy__(self, _memo: object) -> Rule:
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("rules don't change; parse another one")

    def __str__(self) -> str:
        if not self._text:
            object.__setattr__(self, "_text", self._written())
        return self._text

    def __repr__(self) -> str:
        return f"<Rule {self}>"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Rule) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def covered(
    rules: Iterable[Rule], rule: Rule, own_name: str = "", other_name: str | None = None
) -> bool:
    """Whether rules together certainly allow all that `rule` does: each of its messages by one of
    them. `own_name` holds the rules, and `other_name` the one, if that isn't the same."""
    names = own_name, own_name if other_name is None else other_name
    rules = tuple(rules)
    return all(
        any(one._covers_type(rule, number, names) for one in rules) for number in _types(rule)
    )


def exactly(service: str, sent: Sent, vocabulary: Vocabulary | None = None) -> Rule | None:
    """The rule for a message and no other values of the fields that stand for something: addresses,
    ports, paths, names. None if there can be none: for a path with ".." in it, or a message that
    the service doesn't take, or where it would be too long."""
    from wasmos.kernel.rule_meaning import exact

    return exact(service, sent, vocabulary or Vocabulary.default())


def value_of(sent: Sent, field: abi.Field) -> object:
    """What a message says; what nobody has set is zero."""
    if isinstance(sent, abi.Message):
        return getattr(sent, field.name)
    return sent[1].get(field.name, _ZEROS.get(field.kind, 0))


def split(text: str) -> list[str]:
    """The rules of a text that separates them by commas. Raises RuleError."""
    from wasmos.kernel import rule_text

    return rule_text.split(text)


def _is_plain(name: str) -> bool:
    """Whether a service's name needs no quotes."""
    return name.isascii() and name.replace("_", "a").replace("-", "a").isalnum() and len(name) < 64


def _types(rule: Rule) -> Iterator[int | None]:
    """Of the messages that a rule is for, and None if there can be others."""
    if rule._request is not None:
        yield rule._request.TYPE  # what it constrains is where others differ most likely
        yield from (rule.messages or frozenset()) - {rule._request.TYPE}
        return
    yield None
    if rule.service != EVERYTHING:
        for request in rule.vocabulary.takes(rule.service).values():
            yield request.TYPE


def _badge_covers(mine: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """The same, or the same but for reading only."""
    writes = mine.get("mode", "rw") == "rw"
    return mine == other or (writes and {**mine, "mode": "ro"} == other)


def _demands(
    message: type[abi.Message], own: Mapping[str, Constraint], own_name: str | None
) -> Iterator[Constraint]:
    """Of each field of a message: its constraint, or the default unless `own_name` is None."""
    for field in message.FIELDS:
        if field.name in own:
            yield own[field.name]
        elif field.meaning in WITH_DEFAULT and own_name is not None:
            from wasmos.kernel.constraint import default

            if (usual := default(field, own_name)) is not None:
                yield usual
        if f"len({field.name})" in own:
            yield own[f"len({field.name})"]
