"""The microkernel: tasks, messages, authority, scheduling, limits, events.

Law: knows no file, no socket and no message by name. The trusted part is
`_core` (the .pxi files of this folder); the rest is its Python face.
"""

from wasmos._core import Lent
from wasmos.engine.cache import Cache, user_cache
from wasmos.errors import Deadlock
from wasmos.kernel.denial import REASONS, UNMET, Denial
from wasmos.kernel.event import Event
from wasmos.kernel.exit import Exit
from wasmos.kernel.grant import Grant
from wasmos.kernel.interrupts import exit_on_signal
from wasmos.kernel.kernel import ALL, Kernel
from wasmos.kernel.limits import Limits
from wasmos.kernel.personality import Personality
from wasmos.kernel.program import (
    FOUR_CALLS,
    CompileLimits,
    Program,
    admit,
    file_name,
    inspect,
    read,
)
from wasmos.kernel.rule import Rule, covered, exactly
from wasmos.kernel.rule import split as split_rules
from wasmos.kernel.service import Caller, Service
from wasmos.kernel.task import Client, Task
from wasmos.kernel.timers import Timer
from wasmos.kernel.vocabulary import Vocabulary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.engine.info import ModuleInfo as ModuleInfo
    from wasmos.kernel.kernel import Progress as Progress
    from wasmos.kernel.program import Source as Source
    from wasmos.kernel.timers import Timer as Timer

__all__ = [
    "ALL",
    "FOUR_CALLS",
    "REASONS",
    "UNMET",
    "Cache",
    "Caller",
    "Client",
    "CompileLimits",
    "Deadlock",
    "Denial",
    "Event",
    "Exit",
    "Grant",
    "Kernel",
    "Lent",
    "Limits",
    "Personality",
    "Program",
    "Rule",
    "Service",
    "Task",
    "Timer",
    "Vocabulary",
    "admit",
    "covered",
    "exactly",
    "exit_on_signal",
    "file_name",
    "inspect",
    "read",
    "split_rules",
    "user_cache",
]
