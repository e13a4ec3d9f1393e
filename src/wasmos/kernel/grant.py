"""A grant: one capability, as those who look after it see it.

Law: a grant never becomes more than it was. It knows what it was derived from, and when it is
taken back, everything that was derived from it goes as well.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from wasmos.kernel.authority import Authority
    from wasmos.kernel.constraint import Test
    from wasmos.kernel.rule import Rule, Sent
    from wasmos.kernel.task import Task

    # What the kernel checks: the types of message (None: all), and the tests for some of them.
    Compiled: TypeAlias = tuple[frozenset[int] | None, dict[int, tuple[Test, ...]]]

LIVE = "live"
OFFERED = "offered"  # to a task that hasn't taken it yet
LEFT = "left"  # its holder has ended; what was derived from it goes on
REVOKED = "revoked"
EXPIRED = "expired"
SPENT = "spent"


class Grant:
    """One capability, or a rule that denies.

    id: its number; they are never reused.
    rule: what it is for. `deny`: whether it forbids that instead.
    holder: the id of the task that holds it, `holder_name` its name.
    parent: the grant that it was derived from, None if the host gave it; `children`: the reverse.
    by: the task that passed it on, 0 for the host.
    origin: where it was said, such as "policy.toml:12" or "--allow".
    badge: what it means at the server, as names and texts.
    uses: how often it can be used in all, None: without end; `uses_left` is what remains.
    effort, denied_effort: what the core may have to do to ask it and its `excepts`, see `bounds`;
        0 if the host gave it.
    expires_ns: when it ends, by the kernel's clock; None: never.
    state: live, offered, left, revoked, expired or spent.
    """

    __slots__ = (
        "_authority", "badge", "by", "children", "compiled", "denied_effort", "deny", "effort",
        "excepts", "expires_ns", "holder", "holder_name", "id", "origin", "parent", "rule", "state",
        "uses",
    )  # fmt: skip

    def __init__(
        self, authority: Authority, id: int, rule: Rule, holder: Task, compiled: Compiled
    ) -> None:
        self._authority = authority
        self.id = id
        self.rule = rule
        self.holder = holder.id
        self.holder_name = holder.name
        self.compiled = compiled
        self.excepts: list[Grant] = []  # rules that deny a part of it to whom it came from
        self.parent: Grant | None = None
        self.children: list[Grant] = []
        self.deny = False
        self.by = 0
        self.origin = ""
        self.badge: dict[str, str] = dict(rule.badge)
        self.effort = self.denied_effort = 0
        self.uses: int | None = None
        self.expires_ns: int | None = None
        self.state = LIVE

    @property
    def depth(self) -> int:
        """How many grants stand above it."""
        depth, grant = 0, self.parent
        while grant is not None:
            depth, grant = depth + 1, grant.parent
        return depth

    @property
    def is_over(self) -> bool:
        """Whether it is only remembered: it counts no longer, and there is nothing to take back."""
        return self.id not in self._authority.live

    @property
    def shown_badge(self) -> str:
        """The badge as it stands in a rule: `dir="/srv", mode="ro"`."""
        from wasmos.kernel.rule_text import quote

        return ", ".join(f"{name}={quote(value)}" for name, value in self.badge.items())

    @property
    def uses_left(self) -> int | None:
        """How often it can still be used; None: without end, or it is over."""
        return self._authority.uses_left(self)

    def delegate(
        self,
        task: Task,
        rule: Rule | str | None = None,
        *,
        uses: int | None = None,
        seconds: float | None = None,
        origin: str = "",
    ) -> Grant:
        """Give `task` what this grant is for, or the part of it that `rule` names.

        Raises CapabilityDenied if the rule is for something else, UsageError if this grant is over.
        """
        return self._authority.delegate(self, task, rule, uses=uses, seconds=seconds, origin=origin)

    def revoke(self) -> None:
        """Take it back, with all that was derived from it. Idempotent."""
        self._authority.revoke(self)

    @property
    def cause(self) -> str:
        """Why what it is for is denied, as `Denial.cause`: it is a deny rule, or has ended."""
        return "denied" if self.deny else self.state

    def admits(self, sent: Sent) -> bool:
        """Whether it is for this message to its service, whatever its state: it, and all that it
        came from, without what is excepted from it."""
        if any(rule.rule.admits(sent, rule.holder_name, deny=True) for rule in self.excepts):
            return False
        at: Grant | None = self
        while at is not None:
            if not at.rule.admits(sent, at.holder_name):
                return False
            at = at.parent
        return True

    def walk(self) -> list[Grant]:
        """Itself and all that was derived from it, each after its parent."""
        found = [self]
        for grant in found:
            found.extend(grant.children)
        return found

    def __repr__(self) -> str:
        kind = "Denial rule" if self.deny else "Grant"
        return f"<{kind} {self.id} {str(self.rule)!r} of task {self.holder} {self.state}>"
