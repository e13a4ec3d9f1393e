# The scheduler: which ready task runs next, and what becomes of it.
#
# Law: strict priorities, round robin within one, or a random order drawn from
# the seed. A task runs until it blocks, ends, or the tick preempts it; time is
# charged to whoever ran. No Python object is touched here.

cdef inline uint32_t random_below(Kern *k, uint32_t n) noexcept nogil:
    """xorshift64* (Vigna, 2016): small, seedable, good enough for orders."""
    k.rng ^= k.rng >> 12
    k.rng ^= k.rng << 25
    k.rng ^= k.rng >> 27
    return <uint32_t>((k.rng * <uint64_t>2685821657736338717) >> 32) % n


cdef Task *next_ready(Kern *k) noexcept nogil:
    cdef int level
    cdef Task *task
    cdef Queue *queue
    cdef uint32_t length
    for level in range(PRIORITIES - 1, -1, -1):
        if not (k.ready_levels >> level) & 1:
            continue
        queue = &k.ready[level]
        task = queue.head
        if task is NULL:
            k.ready_levels &= ~(<uint32_t>1 << level)
            continue
        if k.rng:
            length = 0
            while task is not NULL:
                length += 1
                task = task.next
            task = queue.head
            for _ in range(random_below(k, length)):
                task = task.next
        unlink(task)
        return task
    return NULL


cdef inline void charge(Kern *k, Task *task) noexcept nogil:
    """Bill the time since the last switch to `task` (NULL: to nobody).

    With the virtual clock a nanosecond is an instruction, so a run takes the
    same time whenever it is repeated."""
    cdef int64_t now
    cdef uint64_t fuel
    if not k.deterministic:
        now = monotonic_ns()
        if task is not NULL:
            task.cpu_ns += now - k.now_ns
        k.now_ns = now
    elif task is not NULL and task.context is not NULL:
        api.get_fuel(task.context, &fuel)
        task.cpu_ns += <int64_t>(task.fuel_last - fuel)
        k.now_ns += <int64_t>(task.fuel_last - fuel)
        task.fuel_last = fuel


cdef void resume(Kern *k, Task *task) noexcept nogil:
    """Run `task`, which stands in no queue, until it can't or must not."""
    cdef Task *before = k.current
    cdef bint done
    if before is not NULL:
        charge(k, before)
    k.current = task
    k.depth += 1
    k.switches += 1
    task.state = RUNNING
    task.on_stack = True
    done = api.future_poll(task.future)
    task.on_stack = False
    charge(k, task)
    k.depth -= 1
    k.current = before
    if done:
        finished(k, task)
    elif task.cpu_ns > task.cpu_limit_ns or (
            task.kind == PASSIVE
            and task.cpu_ns - task.handler_from_ns > k.handler_ns):
        bill_client(k, task)
        die(k, task, EXIT_CPU_LIMIT)
    elif task.state == RUNNING:
        task.preemptions += 1
        make_ready(k, task)
    elif task.state == READY and task.queue is NULL:
        make_ready(k, task)


cdef void die(Kern *k, Task *task, Cause cause) noexcept nogil:
    """The task is over. Its peers are released, and it is freed, as soon as
    no fibre is on the stack: by `Core.bury`."""
    unlink(task)
    task.state = EXITED
    task.cause = cause
    push(&k.dead, task)


cdef void finished(Kern *k, Task *task) noexcept nogil:
    """A guest function returned or trapped: on to the next phase."""
    api.future_delete(task.future)
    task.future = NULL
    census.futures -= 1
    if task.is_leaving:
        left(k, task)
        return
    if task.trap is not NULL or task.error is not NULL:
        bill_client(k, task)
        # An error that isn't a trap: the engine had no room for it.
        die(k, task, EXIT_REFUSED if task.trap is NULL and task.phase <= STARTING
            else EXIT_TRAPPED)
        return
    if task.phase == LINKING:
        task.error = api.linker_define_instance(
            task.linker, task.context, b"env", 3, &task.shim)
        if task.error is not NULL:
            die(k, task, EXIT_REFUSED)
            return
        if task.adapter is not NULL:
            task.phase = ADAPTING
            begin(k, task, api.linker_instantiate_async(
                task.linker, task.context, task.adapter, &task.adapted,
                &task.trap, &task.error))
        else:
            start(k, task)
    elif task.phase == ADAPTING:
        adapted(k, task)
    elif task.phase == STARTING:
        started(k, task)
    elif task.phase == INITIALIZING:
        after_initialize(k, task)
    elif task.phase == ASKING_BUFFER:
        task.phase = WORKING
        buffer_known(k, task)
    elif task.kind == PASSIVE:
        answered(k, task)
    else:
        die(k, task, EXIT_RETURNED)


cdef void begin(Kern *k, Task *task, void *future) noexcept nogil:
    task.future = future
    census.futures += 1
    unlink(task)
    make_ready(k, task)


cdef void start(Kern *k, Task *task) noexcept nogil:
    """Instantiate the guest, whose imports are all in the linker."""
    task.phase = STARTING
    begin(k, task, api.linker_instantiate_async(
        task.linker, task.context, task.module, &task.instance,
        &task.trap, &task.error))


cdef bint exported(Task *task, const char *name, size_t size, uint8_t kind,
                   wasmtime_extern_t *item) noexcept nogil:
    return (api.export_get(task.context, &task.instance, name, size, item)
            and item.kind == kind)


cdef void begin_call(Kern *k, Task *task, wasmtime_func_t *func, size_t nargs,
                     size_t nresults) noexcept nogil:
    """Call a guest function on the task's fibre."""
    task.entry = func[0]
    begin(k, task, api.call_async(
        task.context, &task.entry, &task.argument, nargs, &task.value,
        nresults, &task.trap, &task.error))


cdef void started(Kern *k, Task *task) noexcept nogil:
    cdef wasmtime_extern_t item
    if exported(task, b"memory", 6, EXTERN_MEMORY, &item):
        adopt_memory(task, &task.program if task.adapter is not NULL
                     else &task.memory, &item.of.memory)
    task.phase = INITIALIZING
    if exported(task, b"_initialize", 11, EXTERN_FUNC, &item):
        begin_call(k, task, &item.of.func, 0, 0)
    else:
        after_initialize(k, task)


cdef void invoke(Kern *k, Task *task) noexcept nogil:
    cdef Invocation *made = task.invoked
    cdef wasmtime_extern_t item
    if not exported(task, made.name, made.name_size, EXTERN_FUNC, &item):
        die(k, task, EXIT_REFUSED)
        return
    task.entry = item.of.func
    begin(k, task, api.call_async(
        task.context, &task.entry, made.values, made.argument_count,
        &made.values[made.argument_count], made.result_count, &task.trap, &task.error))


cdef void after_initialize(Kern *k, Task *task) noexcept nogil:
    """Names and types of the exports were checked before the spawn."""
    cdef wasmtime_extern_t item
    if task.invoked is not NULL:
        task.phase = WORKING
        invoke(k, task)
        return
    if task.kind == PASSIVE:
        task.phase = ASKING_BUFFER
        if exported(task, b"ipc_buffer", 10, EXTERN_FUNC, &item):
            begin_call(k, task, &item.of.func, 0, 1)
            return
    elif task.adapter is not NULL:
        task.phase = WORKING
        if exported(task, b"_start", 6, EXTERN_FUNC, &item):
            begin_call(k, task, &item.of.func, 0, 0)
        else:
            die(k, task, EXIT_RETURNED)     # a reactor, which did all there is to do
        return
    else:
        task.phase = WORKING
        if exported(task, b"main", 4, EXTERN_FUNC, &item):
            begin_call(k, task, &item.of.func, 0, 1 if task.has_result else 0)
            return
    die(k, task, EXIT_REFUSED)


# --- passive services ---------------------------------------------------------

cdef void buffer_known(Kern *k, Task *task) noexcept nogil:
    cdef wasmtime_extern_t item
    task.inbox = <uint32_t>task.value.of.i32
    if guest_message(task, task.inbox) is NULL or not exported(
            task, b"ipc_handle", 10, EXTERN_FUNC, &item):
        die(k, task, EXIT_REFUSED)
        return
    task.entry = item.of.func
    task.state = IDLE
    if task.senders.head is not NULL:
        serve_next(k, task, task.senders.head)


cdef void serve_next(Kern *k, Task *task, Task *client) noexcept nogil:
    """Start the handler of a passive service at rest for `client`."""
    unlink(client)
    task.message = task.inbox
    task.handler_from_ns = task.cpu_ns
    deliver_kept(k, client, task)
    task.client = client.id
    task.argument.kind = VALKIND_I32
    task.argument.of.i32 = <int32_t>task.inbox
    begin(k, task, api.call_async(
        task.context, &task.entry, &task.argument, 1, &task.value, 0,
        &task.trap, &task.error))


cdef void bill_client(Kern *k, Task *task) noexcept nogil:
    """What a passive service used is its client's processor time, too."""
    cdef Task *client = find(k, task.client)
    if task.kind == PASSIVE and client is not NULL and client.kind != HOST:
        client.cpu_ns += task.cpu_ns - task.handler_from_ns


cdef void answered(Kern *k, Task *task) noexcept nogil:
    """The handler returned: its buffer holds the reply."""
    cdef uint8_t *message = guest_message(task, task.inbox)
    cdef Task *client = find(k, task.client)
    bill_client(k, task)
    task.client = 0
    task.state = IDLE
    if client is not NULL and client.state == AWAITING and (
            client.peer == task.id):
        send_reply(k, task, client, message,
                   message_size(k, load_i32(message)))
    if task.senders.head is not NULL:
        serve_next(k, task, task.senders.head)


# --- a slice ------------------------------------------------------------------

cdef void run_slice(Kern *k, int64_t end_ns, uint32_t most) noexcept nogil:
    """Run at most `most` ready tasks, until none is, Python is needed, or
    it is `end_ns`."""
    cdef Task *task
    charge(k, NULL)
    while k.attention.head is NULL and k.dead.head is NULL and (
            not (k.room_made or records_wait(k))) and k.spent is NULL and (
            k.now_ns < end_ns) and most:
        task = next_ready(k)
        if task is NULL:
            return
        most -= 1
        resume(k, task)
