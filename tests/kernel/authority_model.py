"""What authority means, in the simplest words: a list of capabilities, and loops over it.

The kernel is compared with this. Nothing here is fast, compiled or remembered: a capability is a
dictionary, it admits a message if its own demands and those of all it came from admit it, and every
question is answered by looking at everything.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Cap: TypeAlias = dict[str, Any]
# The service that a message goes to has all of these names; its type; its fields.
Sent: TypeAlias = tuple[list[str], int, dict[str, Any]]


class Model:
    """`covers`: type → the types that a rule for it is for as well. `takes`: service → the types
    that it takes. `defaults`: type → fields that have one, and what it is: a function of the
    holder's name and the value."""

    def __init__(
        self, covers: dict[int, set[int]], takes: dict[str, set[int]], defaults: dict[int, Any]
    ) -> None:
        self.covers, self.takes, self.defaults = covers, takes, defaults
        self.caps: list[Cap] = []  # the oldest first
        self.lost: list[tuple[Cap, str]] = []  # those that were held, and how they ended
        self.now = 0

    def chain(self, cap: Cap | None) -> list[Cap]:
        """A capability and all that it came from."""
        return [] if cap is None else [cap, *self.chain(cap["parent"])]

    def under(self, cap: Cap) -> list[Cap]:
        return [each for each in self.caps if cap in self.chain(each)]

    def is_over(self, cap: Cap) -> str:
        """ "expired", "spent", or "" if it can be used."""
        for each in self.chain(cap):
            if each["expires"] is not None and each["expires"] <= self.now:
                return "expired"
        return "spent" if any(each["uses"] == 0 for each in self.chain(cap)) else ""

    def is_limited(self, cap: Cap) -> bool:
        return any(c["uses"] is not None or c["expires"] is not None for c in self.chain(cap))

    def types(self, rule: dict[str, Any]) -> set[int] | None:
        return (
            None if rule["type"] is None else self.covers.get(rule["type"], set()) | {rule["type"]}
        )

    def admits(self, rule: dict[str, Any], name: str, sent: Sent) -> bool:
        """Whether a rule allows a message to somebody of this name."""
        services, type, fields = sent
        if rule["service"] == "*":
            return True
        types = self.types(rule)
        if rule["service"] not in services or (types is not None and type not in types):
            return False
        demands = rule["demands"] if type == rule["type"] else {}
        has_defaults = rule["type"] is not None or type in self.takes.get(rule["service"], ())
        defaults = self.defaults.get(type, {}) if has_defaults else {}
        for field, value in fields.items():
            if field in demands and not any(is_one_of(value, each) for each in demands[field]):
                return False
            if field not in demands and field in defaults and not defaults[field](name, value):
                return False
        return all(
            any(low <= len(fields[field]) <= high for low, high in ranges)
            for field, ranges in (rule["lengths"] if type == rule["type"] else {}).items()
        )

    def denies(self, rule: dict[str, Any], sent: Sent) -> bool:
        """A rule that denies has no defaults, and is for no other message than it says."""
        if rule["type"] not in (None, sent[1]):
            return False
        return Model({}, {}, {}).admits(rule, "", sent)

    def inherits(self, rule: dict[str, Any], _cap: Cap, sent: Sent) -> bool:
        """Whether what its giver is denied, or was, denies it to whom it was passed on to."""
        return self.denies(rule, sent)

    def matches(self, cap: Cap, sent: Sent) -> bool:
        """Whether a capability is for a message, used up or not."""
        if any(self.inherits(rule, cap, sent) for rule in cap["excepts"]):
            return False
        return all(self.admits(each["rule"], each["name"], sent) for each in self.chain(cap))

    def held(self, task: int) -> list[Cap]:
        return [cap for cap in self.caps if cap["holder"] == task and cap["state"] == "live"]

    def decide(self, task: int, sent: Sent) -> tuple[list[Cap], str]:
        """The capabilities that may be the one that admits it, and otherwise why none does."""
        mine = [c for c in self.held(task) if c["rule"]["service"] in ("*", *sent[0])]
        if any(cap["deny"] and self.denies(cap["rule"], sent) for cap in mine):
            return [], "denied"
        mine = [cap for cap in mine if not cap["deny"]]
        found = [cap for cap in mine if self.matches(cap, sent) and not self.is_over(cap)]
        if free := [cap for cap in found if not self.is_limited(cap)]:
            return free, ""
        for service in sent[0]:
            if these := [cap for cap in found if cap["rule"]["service"] in ("*", service)]:
                return these[:1], ""
        nearest = max(
            (self.miss(cap, sent[1]) for cap in mine), key=CAUSES.index, default=CAUSES[0]
        )
        return [], self.end_of(task, sent) or nearest if nearest in CAUSES[:3] else nearest

    def end_of(self, task: int, sent: Sent) -> str:
        """How the last ended that would have admitted it; "" if there is none."""
        for cap, how in reversed(self.lost):
            is_for_it = cap["holder"] == task and cap["rule"]["service"] in ("*", *sent[0])
            if is_for_it and self.matches(cap, sent):
                return how
        return ""

    def miss(self, cap: Cap, type: int) -> str:
        for each in self.chain(cap):
            types = self.types(each["rule"])
            if types is not None and type not in types:
                return "message"
        return self.is_over(cap) or "field"

    def use(self, cap: Cap) -> None:
        for each in self.chain(cap):
            if each["uses"] is not None:
                each["uses"] -= 1

    def sweep(self) -> None:
        """What is over is taken back with all that came of it."""
        for cap in list(self.caps):
            if self.is_over(cap) and not cap["deny"]:
                self.revoke(cap, self.is_over(cap))

    def revoke(self, cap: Cap, how: str = "revoked") -> None:
        gone = self.under(cap)
        held = [each for each in gone if each["state"] == "live" and not each["deny"]]
        self.lost += [(each, how) for each in held]
        self.caps = [each for each in self.caps if each not in gone]

    def end(self, task: int) -> None:
        """It holds nothing any more. What it passed on goes on."""
        for cap in [cap for cap in self.caps if cap["holder"] == task]:
            cap["holder"], cap["state"] = 0, "left"

    def add(self, id: int, task: int, name: str, rule: dict[str, Any], **more: Any) -> Cap:
        cap = {"id": id, "holder": task, "name": name, "rule": rule, "deny": False, "uses": None,
               "expires": None, "parent": None, "state": "live", "excepts": [], **more}  # fmt: skip
        if cap["deny"]:
            for heir in self.caps:
                above = self.chain(heir)[1:]
                if any(each["holder"] == task and not each["deny"] for each in above):
                    heir["excepts"].append(rule)
        if cap["parent"] is not None:
            giver = cap["parent"]
            denied = [c["rule"] for c in self.held(giver["holder"]) if c["deny"]]
            cap["excepts"] = [*giver["excepts"], *denied]
        self.caps.append(cap)
        return cap

    def is_part(self, rule: dict[str, Any], of: Cap) -> bool:
        """Whether anything that a rule is for can be passed on from a capability."""
        for each in self.chain(of):
            if each["rule"]["service"] not in ("*", rule["service"]):
                return False
        common = self.types(rule)
        for each in self.chain(of):
            types = self.types(each["rule"])
            common = types if common is None else common if types is None else common & types
        return common is None or bool(common)


CAUSES = ["no_capability", "message", "field", "denied", "expired", "spent"]


def is_one_of(value: Any, allowed: Any) -> bool:
    """A number in a range, or a text: as it is, or anything that ends so if there is a star."""
    if isinstance(allowed, tuple):
        return bool(allowed[0] <= value <= allowed[1])
    if allowed.startswith("*"):
        return bool(value.endswith(allowed[1:]))
    return bool(value == allowed)
