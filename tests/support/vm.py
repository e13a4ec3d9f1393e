"""As much of the `vm` service as guests of the tests need: names, and an echo of pings."""

from __future__ import annotations

import wasmos
from wasmos import abi


class Vm(wasmos.Service):
    """`reserved` names are refused to everyone."""

    name = "vm"

    def __init__(self, reserved: frozenset[str] = frozenset()) -> None:
        self.reserved = reserved

    def ping(self, caller: wasmos.Caller, value: int) -> int:
        return value

    def service_register(self, caller: wasmos.Caller, name: str) -> None:
        if name in self.reserved:
            raise wasmos.CapabilityDenied(name)
        try:
            self.kernel.register(caller.id, name)
        except wasmos.UsageError as error:
            raise wasmos.ServiceError(abi.ErrorCode.INVALID_ARG, str(error)) from None
