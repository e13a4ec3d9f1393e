"""Rules a step wider than one: what somebody who is asked can say yes to instead.

Law: what is offered covers what it was made from, gives way in one field only, and never leaves the
service. Nothing here grants anything.

    tcpip.listen(listen_port=80)                   tcpip.listen
    tcpip.dns_resolve(hostname="www.example.com")  tcpip.dns_resolve(hostname="*.example.com")
    fs.open(path="/data/notes/a.txt")              fs.open(path="/data/notes/**"), fs
    console.write                                  console
"""

from __future__ import annotations

from wasmos.errors import RuleError
from wasmos.kernel import Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Below these, as below `com`, anybody can have a domain: `*.co.uk` would be half of a country.
_REGISTRIES = ("ac", "co", "com", "edu", "gov", "ltd", "net", "nom", "org", "plc", "sch")


def wider(rule: Rule, own_name: str = "") -> list[Rule]:
    """The rules, in the order of the fields, that are one step wider."""
    found = []
    for text in _texts(rule):
        try:
            one = Rule.parse(text, rule.vocabulary)
        except RuleError:
            continue
        if one != rule and one not in found and one.covers(rule, own_name):
            found.append(one)
    return found


def head(rule: Rule) -> str:
    """Service and message, as the rule's text begins."""
    text = str(rule.replace(uses=None, seconds=None))
    items = items_of(rule)
    return text.removesuffix(f"({', '.join(items)})") if items else text


def items_of(rule: Rule) -> list[str]:
    """What stands between the brackets of a rule."""
    plain = str(Rule("x", badge=rule.badge))
    badge = [plain[2:-1]] if rule.badge else []
    return [*badge, *map(str, rule.constraints.values())]


def _texts(rule: Rule) -> Iterator[str]:
    start = head(rule)
    if rule.message is None:
        return
    if not rule.constraints:
        yield start.rpartition(".")[0]
        return
    badge = items_of(rule)[: 1 if rule.badge else 0]
    for key, constraint in rule.constraints.items():
        values = constraint.values()
        step = _step(constraint.field.meaning, values[0].strip('"')) if len(values) == 1 else ""
        items = [
            f"{key}={step}" if other == key else str(rule.constraints[other])
            for other in rule.constraints
            if other != key or step
        ]
        items = badge + items
        yield f"{start}({', '.join(items)})" if items else start
    if rule.service == "fs":  # a file is written to under the grant that it was opened under
        yield rule.service


def _step(meaning: str, value: str) -> str:
    """What a value gives way to; "" if it is any value at all."""
    if meaning == "ipv4" and value.count(".") == 3 and "/" not in value:
        return f'"{value.rpartition(".")[0]}.0/24"'
    if meaning == "hostname":
        return _domain(value)
    if meaning == "path" and value.count("/") > 1:
        return f'"{value.rpartition("/")[0]}/**"'
    return ""


def _domain(host: str) -> str:
    labels = host.split(".")
    short = len(labels) == 3 and len(labels[2]) == 2 and labels[1] in _REGISTRIES
    if len(labels) == 2 or short:
        return f'["{host}", "*.{host}"]'
    return f'"*.{".".join(labels[1:])}"' if len(labels) > 2 else ""
