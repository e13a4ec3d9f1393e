"""Which services a running system can have, for who grants and denies while it runs.

Law: what is granted here is there, or somebody is to be it: who looks up a service that nobody can
be would wait for ever. A name that means nothing is an error: a rule for it would protect nothing.
"""

from __future__ import annotations

from wasmos.errors import UsageError
from wasmos.kernel import ALL
from wasmos.system.units import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wasmos.kernel import Kernel, Rule, Service


class Offer:
    """The services of one system.

    names: what a service can be called here, besides those that are up. others: names that mean
        something elsewhere, and so may be denied.
    makers: makes the servers that are started when they are wanted, by name.
    """

    def __init__(
        self,
        kernel: Kernel,
        names: Iterable[str],
        *,
        others: Iterable[str] = (),
        makers: Mapping[str, Callable[[], Service]] | None = None,
    ) -> None:
        self._kernel = kernel
        self._names = list(names)
        self._others = list(others)
        self._makers = makers or {}

    def check_grant(self, rule: Rule) -> None:
        """Raises UsageError for a service that nobody can be."""
        self._check(rule, self._names, "here")

    def check_denial(self, rule: Rule) -> None:
        """Raises UsageError for a service that nobody has heard of."""
        self._check(rule, [*self._names, *self._others], "to deny")

    def _check(self, rule: Rule, names: list[str], what: str) -> None:
        known = dict.fromkeys([*names, *self._kernel.services])
        if rule.service not in known and rule.service != ALL:
            raise UsageError(f"no service {rule.service!r} {what}; {nearest(rule.service, known)}")

    def start(self, service: str) -> None:
        """Bring up the server of this name, or all of them for ALL, if that isn't so already.
        Raises UsageError."""
        for name in self._makers if service == ALL else (service,):
            if name in self._makers and name not in self._kernel.services:
                self._kernel.serve(self._makers[name]())
