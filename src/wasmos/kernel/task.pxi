# The task: one C struct a task, the table that finds it, the queues it waits in.
#
# Law: a blocked task stands in exactly one queue, and the queue says what it
# waits for. Ids are handed out once and never again while the kernel lives.

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

cdef enum:
    MESSAGE_BYTES = 1512
    HEADER_BYTES = 8
    NAME_BYTES = 64          # longest service name, with its NUL
    PRIORITIES = 16
    MIN_TABLE = 32
    FIRST_ID = 2             # 1 is reserved for the `vm` server
    ORIGINAL_MAX_ID = 16     # ids the original could ever hand out
    PENDING = -0x80000000    # the shim of the four calls must wait

cdef enum Error:
    OK = 0
    ERR_NO_RESOURCES = -2
    ERR_NOT_ALLOWED = -8
    ERR_NOT_SUPPORTED = -9
    ERR_UNEXPECTED = -10
    ERR_INVALID_ARG = -11
    ERR_INVALID_TASK = -12
    ERR_INVALID_UADDR = -15
    ERR_TOO_LARGE = -17
    ERR_WOULD_BLOCK = -19
    ERR_ABORTED = -21
    ERR_DEAD_LOCK = -24
    ERR_IO_ERROR = -34

cdef enum Kind:
    WASM        # runs main on its own fibre
    PASSIVE     # a Wasm service that runs on its callers' time
    SERVICE     # a Python service
    HOST        # a Python client

cdef enum State:
    READY       # in a ready queue
    RUNNING     # on the processor, or under a task it handed over to
    RECEIVING   # `peer`, or 0 for anyone
    SENDING     # `peer` does not receive yet
    AWAITING    # `peer` holds the right to reply to it
    LOOKING_UP  # a service nobody has registered yet
    ASKING      # was denied, and somebody is asked whether that is to stay
    IDLE        # services and clients at rest
    EXITED

cdef enum Phase:
    LINKING     # the shim of the four calls is being instantiated
    ADAPTING    # its personality's adapter is
    STARTING    # the guest is being instantiated, its start function run
    INITIALIZING  # a reactor's `_initialize`
    ASKING_BUFFER  # a passive service says where its message buffer is
    WORKING     # main, or a passive handler

cdef enum Cause:
    EXIT_RETURNED
    EXIT_TRAPPED
    EXIT_REFUSED
    EXIT_CPU_LIMIT
    EXIT_KILLED

cdef struct Task
cdef struct Event
cdef struct Record
cdef struct Cap
cdef struct Hold

cdef struct Queue:
    Task *head
    Task *tail

# A one-way message that waits for its receiver.
cdef struct Note:
    Note *next
    int32_t src
    int32_t cap             # that admitted it; 0: its receiver asked for it
    uint32_t size
    uint8_t data[1]

# A memory of a guest's. It never moves and never shrinks.
cdef struct Memory:
    wasmtime_memory_t handle
    uint8_t *base
    uint64_t bytes          # as last seen
    bint is_there

# A function to be called instead of `main` or `_start`, whose type was checked.
cdef struct Invocation:
    char *name
    size_t name_size
    size_t argument_count
    size_t result_count
    wasmtime_val_t values[1]    # the arguments, then the results; the name comes after them

# A task's memory, as long as Python has a view of it. Then its store outlives it.
cdef struct Loan:
    void *store             # NULL while the task lives
    uint32_t views

cdef struct Task:
    int32_t id
    Kind kind
    State state
    Phase phase
    uint8_t priority
    bint direct             # passive and imports nothing: called in place
    bint on_stack           # its fibre, or one it handed over to, is running
    bint wake               # `result` is there for its suspended call
    bint wants_room         # someone waits for room in its mailbox
    int32_t peer
    int32_t result
    uint32_t message        # address of its current message, checked
    int32_t open_dst        # it may send any message of type `open_type` to
    int32_t open_type       # this task, by `open_cap`; 0: to nobody known
    Cap *open_cap
    uint32_t inbox          # PASSIVE: address of its buffer, checked
    int64_t handler_from_ns  # PASSIVE: its `cpu_ns` when the handler began
    int32_t client          # whom a passive service works for
    # the engine's side
    void *store
    void *context
    void *linker
    void *module            # borrowed: the Python task holds the module
    wasmtime_instance_t shim
    wasmtime_instance_t instance
    Memory memory           # where its messages are
    Memory program          # under a personality, the program's; it can lend only that
    void *adapter           # a personality's module, borrowed, or NULL
    const char *dialect     # the module name that the program imports it by
    wasmtime_instance_t adapted
    Loan *loan              # of its memory to Python, or NULL
    bint quietly            # it looks up what it may do without
    bint is_leaving         # it has ended itself, with an exit code
    uint8_t natives         # SERVICE: bit i: NativeOp i is one that the core answers for it
    wasmtime_func_t entry
    Invocation *invoked     # or NULL
    void *future
    void *trap
    void *error
    wasmtime_val_t argument
    wasmtime_val_t value    # what the running guest function returns
    wasmtime_val_t *waiting  # where the suspended call wants its result
    bint has_result
    uint8_t *buffer         # HOST: its message
    void *handlers          # SERVICE: borrowed from Core.handlers
    void *caller            # how Python services see it, a reference or NULL
    char name[NAME_BYTES]   # of the service it looks up
    # queues
    Task *next
    Task *prev
    Queue *queue
    Queue senders           # who wants to send to it
    Queue waiters           # who awaits its reply, or receives from it alone
    Note *mail_head
    Note *mail_tail
    uint32_t mail_count
    uint32_t mail_limit
    # authority
    Hold **holds            # by the service's number + 1; 0: for every service
    uint32_t hold_count
    uint32_t denials        # rules that deny it something
    uint64_t rights         # how often what it may send has changed
    int32_t *provides       # numbers of the services it is
    uint32_t provides_count
    Cap *cap                # what its call under way was admitted by
    bint asks               # somebody is asked before it is denied anything
    bint lends              # and what, with its message under way
    bint lends_to_write
    uint32_t lent_address
    uint32_t lent_size
    bint is_kept            # its message under way is in `outbox`
    uint8_t *outbox         # a private copy of a message that can't go yet
    uint32_t outbox_size
    # limits and accounts
    Cause cause
    int64_t cpu_ns
    int64_t cpu_limit_ns
    uint64_t fuel_last
    uint64_t calls
    uint64_t served
    uint64_t oneways
    uint64_t bytes_sent
    uint64_t bytes_received
    uint64_t preemptions

# Where a message says what it lends; no message has a field at 0.
cdef struct LentField:
    uint16_t offset
    bint to_write

cdef enum:
    ENTROPY_BYTES = 4096

# Bytes of the host's that were not given out yet.
cdef struct Entropy:
    uint32_t left
    uint8_t bytes[ENTROPY_BYTES]

cdef struct Kern:
    Task **table
    uint32_t mask
    uint32_t live
    int32_t next_id
    int32_t highest_id
    Queue ready[PRIORITIES]
    uint32_t ready_levels   # bit i: ready[i] is not empty
    Queue attention         # what only Python can serve
    Queue dead
    Task *current
    uint32_t depth
    bint room_made
    Cap *spent              # those that were used up since Python last heard of it
    Cap *newest             # of all capabilities
    Cap *unreferenced       # to be freed
    uint8_t copy[MESSAGE_BYTES]     # of the message that is looked into
    bint deterministic
    uint64_t rng            # 0: round robin
    int64_t now_ns
    int64_t handler_ns
    uint64_t handler_ticks
    Ticker *ticker
    uint16_t *sizes         # bytes of a message by type, 0 if unknown
    uint8_t *kernel_only
    uint8_t *native_ops     # by type: what the core answers itself
    LentField *lent_fields  # by type
    uint32_t types
    bint trace
    Event *ring
    uint32_t ring_mask
    uint64_t ring_next
    Record *records         # what an audit wants to know
    uint32_t record_mask
    uint64_t record_next
    uint64_t record_read    # so many were taken out
    uint64_t records_lost
    bint record_urgent      # a denial is among them
    bint record_timed       # somebody will come for the others
    bint record_calls
    uint64_t switches
    Entropy entropy

# Live objects, for leak checks. Never read by the kernel itself.
cdef struct Census:
    int64_t tasks
    int64_t stores
    int64_t futures
    int64_t notes
    int64_t caps
cdef Census census


# --- queues -----------------------------------------------------------------

cdef inline void push(Queue *queue, Task *task) noexcept nogil:
    task.queue = queue
    task.next = NULL
    task.prev = queue.tail
    if queue.tail is NULL:
        queue.head = task
    else:
        queue.tail.next = task
    queue.tail = task


cdef inline void unlink(Task *task) noexcept nogil:
    """Take `task` out of the queue it stands in, if any."""
    cdef Queue *queue = task.queue
    if queue is NULL:
        return
    if task.prev is NULL:
        queue.head = task.next
    else:
        task.prev.next = task.next
    if task.next is NULL:
        queue.tail = task.prev
    else:
        task.next.prev = task.prev
    task.queue = NULL
    task.next = NULL
    task.prev = NULL


# --- the table ----------------------------------------------------------------
# Direct-mapped by `id & mask`: new ids skip occupied slots, so a lookup is one
# probe, and growing keeps ids apart (different modulo n is different modulo 2n).
# The slots of the reserved ids are never given to others: the `vm` server may
# come late, or come again.

cdef inline Task *find(Kern *k, int32_t id) noexcept nogil:
    """The live task with this id, or NULL."""
    cdef Task *task = k.table[<uint32_t>id & k.mask]
    if task is NULL or task.id != id or task.state == EXITED:
        return NULL
    return task


cdef inline bint in_range(Kern *k, int32_t id) noexcept nogil:
    """Whether `id` could name a task: one that was handed out, or one of
    those that the original's fixed table had room for."""
    return 0 < id <= k.highest_id or 0 < id <= ORIGINAL_MAX_ID


cdef bint table_grow(Kern *k) noexcept:
    cdef uint32_t size = 2 * (k.mask + 1), i
    cdef Task **table = <Task **>calloc(size, sizeof(Task *))
    if table is NULL:
        return False
    for i in range(k.mask + 1):
        if k.table[i] is not NULL:
            table[<uint32_t>k.table[i].id & (size - 1)] = k.table[i]
    free(k.table)
    k.table = table
    k.mask = size - 1
    return True


cdef Task *task_new(Kern *k, Kind kind, uint8_t priority,
                    uint32_t mail_limit, int32_t reserved) except NULL:
    """A new task at rest, entered in the table under a fresh id, or under a
    reserved one if that is not 0."""
    if 2 * (k.live + 1) > k.mask and not table_grow(k):
        raise MemoryError
    cdef int64_t id = reserved if reserved else k.next_id
    while not reserved and (k.table[<uint32_t>id & k.mask] is not NULL
                            or <uint32_t>id & k.mask < FIRST_ID):
        id += 1
    if id >= INT32_MAX:
        raise OverflowError("this kernel has used up its task ids")
    cdef Task *task = <Task *>calloc(1, sizeof(Task))
    if task is NULL:
        raise MemoryError
    task.cpu_limit_ns = INT64_MAX
    task.id = <int32_t>id
    task.kind = kind
    task.state = IDLE
    task.priority = priority
    task.mail_limit = mail_limit
    if not reserved:
        k.next_id = task.id + 1
    k.highest_id = max(k.highest_id, task.id)
    k.table[<uint32_t>id & k.mask] = task
    k.live += 1
    census.tasks += 1
    return task


cdef void task_free(Kern *k, Task *task) noexcept:
    """Free everything of `task`, which stands in no queue and waits for
    nothing. Dropping the future unwinds the fibre first: it uses the store."""
    cdef Note *note = task.mail_head
    cdef Note *next
    k.table[<uint32_t>task.id & k.mask] = NULL
    k.live -= 1
    if task.future is not NULL:
        api.future_delete(task.future)
        census.futures -= 1
    if task.trap is not NULL:
        api.trap_delete(task.trap)
    if task.error is not NULL:
        api.error_delete(task.error)
    if task.linker is not NULL:
        api.linker_delete(task.linker)
    if task.store is not NULL and not outlives(task):
        delete_store(task.store)
    while note is not NULL:
        next = note.next
        free(note)
        census.notes -= 1
        note = next
    free(task.invoked)      # the future wrote there
    free(task.buffer)
    free(task.outbox)
    free_holds(task)
    free(task.provides)
    free(task)
    census.tasks -= 1


cdef Invocation *invocation(tuple invoke) except NULL:
    """`invoke`: the name, the kind and the bits of each argument, the number of results."""
    cdef bytes name
    cdef list arguments
    cdef size_t results
    name, arguments, results = invoke
    cdef size_t count = len(arguments), i, total = count + results
    cdef Invocation *made = <Invocation *>calloc(
        1, sizeof(Invocation) + total * sizeof(wasmtime_val_t) + len(name))
    if made is NULL:
        raise MemoryError
    made.argument_count, made.result_count = count, results
    made.name, made.name_size = <char *>&made.values[total], len(name)
    memcpy(made.name, <const char *>name, made.name_size)
    for i in range(count):
        made.values[i].kind, made.values[i].of.i64 = arguments[i]
    return made


cdef list results_of(Task *task):
    """The kind and the bits of each value that the function it was spawned for has returned; None
    if there is no such function, or it hasn't."""
    cdef Invocation *made = task.invoked
    cdef size_t i
    if made is NULL or task.cause != EXIT_RETURNED or task.is_leaving:
        return None
    return [(made.values[made.argument_count + i].kind,
             made.values[made.argument_count + i].of.i64) for i in range(made.result_count)]


cdef void delete_store(void *store) noexcept:
    api.store_delete(store)
    census.stores -= 1


cdef bint outlives(Task *task) noexcept:
    """Whether Python still has views of the memory of `task`, which is over:
    then the last of them ends it."""
    if task.loan is NULL:
        return False
    if task.loan.views == 0:
        free(task.loan)
        return False
    task.loan.store = task.store
    return True


def live_objects():
    """How many tasks, stores, futures, waiting one-way messages and
    capabilities exist in this process: what a leak check compares."""
    return {"tasks": census.tasks, "stores": census.stores,
            "futures": census.futures, "notes": census.notes,
            "caps": census.caps}
