"""wasmos: untrusted WebAssembly programs as tasks of a microkernel.

The only thing a task can do is send a message, and the kernel decides which
messages arrive. A ten-line tour:

    import wasmos

    class Pong(wasmos.Service):              # a service: a method per message
        name = "pong"

        def ping(self, caller: wasmos.Caller, value: int) -> int:
            return 42

    with wasmos.Kernel() as kernel:
        kernel.serve(Pong())
        task = kernel.spawn("ping.wasm", allow=["pong"])   # nothing but pong
        print(kernel.wait(task).check())                   # how it ended

Layers, top to bottom: cli, system, servers, kernel, engine; `abi` and `idl`
beside them. See docs/architecture.md.
"""

from __future__ import annotations

from wasmos.errors import (
    CapabilityDenied,
    CompileLimitExceeded,
    DeadlineExceeded,
    Deadlock,
    GuestExit,
    GuestTrap,
    InternalError,
    ManifestError,
    ModuleRefused,
    RuleError,
    ServiceError,
    TaskFailed,
    TaskKilled,
    UsageError,
    WasmosError,
)
from wasmos.kernel import (
    Caller,
    Client,
    CompileLimits,
    Denial,
    Event,
    Exit,
    Grant,
    Kernel,
    Lent,
    Limits,
    Personality,
    Program,
    Rule,
    Service,
    Task,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.kernel.aio import AsyncKernel
    from wasmos.system.backtrace import Frame, backtrace
    from wasmos.system.completed import Completed
    from wasmos.system.run import run

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """What takes long to import is imported when it is asked for."""
    if name == "AsyncKernel":
        from wasmos.kernel.aio import AsyncKernel

        return AsyncKernel
    if name in ("backtrace", "Frame"):
        from wasmos.system import backtrace

        return getattr(backtrace, name)
    if name in ("run", "Completed"):
        from wasmos.system import run

        return getattr(run, name)
    raise AttributeError(f"module 'wasmos' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


__all__ = [
    "AsyncKernel",
    "Caller",
    "CapabilityDenied",
    "Client",
    "CompileLimitExceeded",
    "CompileLimits",
    "Completed",
    "DeadlineExceeded",
    "Deadlock",
    "Denial",
    "Event",
    "Exit",
    "Frame",
    "Grant",
    "GuestExit",
    "GuestTrap",
    "InternalError",
    "Kernel",
    "Lent",
    "Limits",
    "ManifestError",
    "ModuleRefused",
    "Personality",
    "Program",
    "Rule",
    "RuleError",
    "Service",
    "ServiceError",
    "Task",
    "TaskFailed",
    "TaskKilled",
    "UsageError",
    "WasmosError",
    "__version__",
    "backtrace",
    "run",
]
