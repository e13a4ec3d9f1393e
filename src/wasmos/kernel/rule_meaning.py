"""From the text of a rule, or from a message, to the rule.

Law: every name is looked up in a vocabulary and every value is checked against its field, before
there is a rule. What isn't understood is an error that names the nearest thing that would be.
"""

from __future__ import annotations

from types import MappingProxyType

from wasmos import abi
from wasmos.kernel import pattern
from wasmos.kernel.constraint import Constraint, Numbers, Texts, build
from wasmos.kernel.rule import EVERYTHING, Rule, value_of
from wasmos.kernel.rule_reader import read
from wasmos.kernel.rule_text import MAX_TEXT_BYTES, Word
from wasmos.kernel.vocabulary import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wasmos.kernel.rule import Sent
    from wasmos.kernel.rule_text import Item, Parts
    from wasmos.kernel.vocabulary import Vocabulary

# What isn't in the text of rules that are made of messages.
_UNSAID = ("", "secret")


def understand(text: str, vocabulary: Vocabulary) -> Rule:
    """Raises RuleError."""
    parts = read(text)
    rule = _resolved(parts, vocabulary)
    if len(str(rule).encode()) > MAX_TEXT_BYTES:
        parts.fail(f"longer than {MAX_TEXT_BYTES:,} bytes when written out")
    return rule


def exact(service: str, sent: Sent, vocabulary: Vocabulary) -> Rule | None:
    """See `rule.exactly`."""
    number = sent.TYPE if isinstance(sent, abi.Message) else sent[0]
    request = vocabulary.message(number)
    if request is None or vocabulary.takes(service).get(request.NAME) is not request:
        return None
    constraints: dict[str, Constraint] = {}
    for field in request.FIELDS:
        if field.meaning not in _UNSAID:
            constraint = _only(field, value_of(sent, field))
            if constraint is None:
                return None
            constraints[field.name] = constraint
    rule = Rule(service, request, MappingProxyType(constraints), vocabulary=vocabulary)
    return rule if len(str(rule).encode()) <= MAX_TEXT_BYTES else None


def _only(field: abi.Field, value: object) -> Constraint | None:
    if isinstance(value, int):
        return Numbers(field, field.name, [(value, value)])
    text = pattern.normal(str(value).encode("utf-8", "surrogateescape"), pattern.mode_of(field))
    return None if text is None else Texts(field, [tuple(text)])


def _resolved(parts: Parts, vocabulary: Vocabulary) -> Rule:
    request = None if parts.message is None else _request(parts, parts.message, vocabulary)
    fields = {} if request is None else {field.name: field for field in request.FIELDS}
    badges = () if parts.service == EVERYTHING else vocabulary.badges(parts.service)
    badge: dict[str, str] = {}
    constraints: dict[str, Constraint] = {}
    for item in parts.items:
        field = fields.get(item.name)
        if field is not None:
            constraints[item.key] = build(parts, item, field)
        elif item.name in badges and not item.is_length:
            badge[item.name] = _badge_value(parts, item)
        else:
            _refuse_item(parts, item, request, vocabulary)
    badge = {name: badge[name] for name in badges if name in badge}
    if request is not None and constraints:
        keys = (key for name in fields for key in (name, f"len({name})"))
        constraints = {key: constraints[key] for key in keys if key in constraints}
    return Rule(
        parts.service, request,
        MappingProxyType(constraints), MappingProxyType(badge),
        parts.uses, parts.ns, vocabulary,
    )  # fmt: skip


def _request(parts: Parts, name: str, vocabulary: Vocabulary) -> type[abi.Message]:
    request = vocabulary.request(parts.service, name)
    if request is None:
        _refuse_message(parts, name, vocabulary)
    return request


def _refuse_message(parts: Parts, name: str, vocabulary: Vocabulary) -> NoReturn:
    service = parts.service
    requests = vocabulary.takes(service)
    if vocabulary.knows(service):
        short = [vocabulary.short(service, request) for request in requests.values()]
        problem = f"{service} has no message {name!r}; {nearest(name, short)}"
        parts.fail(problem, parts.message_column)
    # Nobody knows the service: either that is mistyped, or the message is.
    owners = [known for known in vocabulary.services if vocabulary.request(known, name)]
    hint = nearest(service, owners) if owners else nearest(name, requests)
    if not hint.startswith("did"):
        hint = "a service that no interface knows takes the full names of requests, such as 'ping'"
        if owners:
            hint = f"it is a message of {', '.join(owners)}"
    parts.fail(f"no message {name!r} for a service {service!r}; {hint}", parts.message_column)


def _badge_value(parts: Parts, item: Item) -> str:
    value, column = item.values[0]
    if item.listed or not isinstance(value, str) or isinstance(value, Word):
        parts.fail(f"{item.name} is one text in quotes", column)
    return value


def _refuse_item(
    parts: Parts, item: Item, request: type[abi.Message] | None, vocabulary: Vocabulary
) -> NoReturn:
    service, name = parts.service, item.name
    badges = vocabulary.badges(service)
    if request is not None:
        fields = [field.name for field in request.FIELDS]
        of = f"{service}.{vocabulary.short(service, request)}"
        hint = nearest(name, [*fields, *badges])
        if not hint.startswith("did"):
            hint = nearest(name, fields or badges)
        parts.fail(f"unknown field {name!r} of {of}; {hint}", item.column)
    hint = nearest(name, badges)
    for one in vocabulary.takes(service).values():
        if any(field.name == name for field in one.FIELDS):
            hint = f"it is a field of {service}.{vocabulary.short(service, one)}"
            break
    parts.fail(f"{service} has no badge parameter {item.key!r}; {hint}", item.column)
