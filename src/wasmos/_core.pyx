# cython: language_level=3
"""The trusted core of wasmos: engine bindings and the kernel's fast path.

Read in this order: engine/capi, engine/engine; kernel/task, memory, events, demand,
capability, gate, authority, records, native, ipc, personality, sched, codec, lent, core. Each file
opens with its law.
"""

from wasmos.errors import InternalError, ServiceError, UsageError

include "engine/capi.pxi"
include "engine/engine.pxi"
include "kernel/task.pxi"
include "kernel/memory.pxi"
include "kernel/events.pxi"
include "kernel/demand.pxi"
include "kernel/capability.pxi"
include "kernel/gate.pxi"
include "kernel/authority.pxi"
include "kernel/records.pxi"
include "kernel/native.pxi"
include "kernel/ipc.pxi"
include "kernel/personality.pxi"
include "kernel/sched.pxi"
include "kernel/codec.pxi"
include "kernel/lent.pxi"
include "kernel/core.pxi"
