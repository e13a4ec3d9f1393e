# The four calls.
#
# Law: decode, then perform. Every argument and right is checked before
# anything changes; after that nothing can fail. No Python object is touched
# here: this code also runs on fibres, where Python must not.
#
# A call returns its result, or PENDING: then its task has been put where it
# waits, and its fibre is suspended before the guest goes on, until `wake`.

cdef inline void make_ready(Kern *k, Task *task) noexcept nogil:
    task.state = READY
    push(&k.ready[task.priority], task)
    k.ready_levels |= <uint32_t>1 << task.priority


cdef void wake(Kern *k, Task *task, int32_t result) noexcept nogil:
    """End the wait of a blocked task: its call returns `result`."""
    unlink(task)
    task.result = result
    task.wake = True
    if task.kind == HOST:
        task.state = IDLE
        push(&k.attention, task)
    elif task.on_stack:
        task.state = READY      # found by whoever handed over on its behalf
    else:
        make_ready(k, task)


cdef bint waits_for(Kern *k, Task *task, Task *other) noexcept nogil:
    """Whether `task` can't go on before `other` does something.

    Each task waits for at most one other, so the wait graph is followed along
    a line; it has no cycle because every call that would close one is refused
    with ERR_DEAD_LOCK. (The rule of MINIX 3: a cycle is the caller's error.)"""
    while task is not NULL:
        if task is other:
            return True
        if task.state in (SENDING, AWAITING, RECEIVING) and task.peer > 0:
            task = find(k, task.peer)
        else:
            return False
    return False


cdef int32_t check_type(Kern *k, int32_t type) noexcept nogil:
    """Negative types are errors and belong in replies; some types belong to
    the kernel. Neither may disturb a receiver."""
    if type < 0:
        return ERR_INVALID_ARG
    if <uint32_t>type < k.types and k.kernel_only[type]:
        return ERR_NOT_SUPPORTED
    return OK


cdef inline uint32_t copy_reply(Kern *k, uint8_t *to, const uint8_t *from_,
                                int32_t src) noexcept nogil:
    """As `copy_message`; what only the kernel may send becomes an error."""
    cdef int32_t type = load_i32(from_)
    if check_type(k, type) == ERR_NOT_SUPPORTED:
        store_i32(to, ERR_UNEXPECTED)
        store_i32(to + 4, src)
        return HEADER_BYTES
    return copy_message(k, to, from_, src)


cdef inline void deliver(Kern *k, Task *sender, Task *receiver, const uint8_t *message,
                         int32_t type, uint32_t size) noexcept nogil:
    """Hand over a request; the receiver now holds the reply right."""
    write_message(guest_message(receiver, receiver.message), message, type,
                  sender.id, size)
    account_call(sender, receiver, size)
    sender.state = AWAITING
    sender.peer = receiver.id
    push(&receiver.waiters, sender)


cdef inline void deliver_kept(Kern *k, Task *sender, Task *receiver) noexcept nogil:
    deliver(k, sender, receiver, sender.outbox, load_i32(sender.outbox),
            sender.outbox_size)


cdef bint keep(Task *task, const uint8_t *message, int32_t type,
               uint32_t size) noexcept nogil:
    """A private copy of a message that can't go yet: what was checked is what
    will arrive, whatever becomes of the sender's memory. False without memory."""
    if task.outbox is NULL:
        task.outbox = <uint8_t *>malloc(MESSAGE_BYTES)
        if task.outbox is NULL:
            return False
    if message is not task.outbox:
        write_message(task.outbox, message, type, task.id, size)
        task.outbox_size = size
    task.is_kept = True
    return True


cdef int32_t ipc_call(Kern *k, Task *task, int32_t dst_id,
                      uint32_t address) noexcept nogil:
    """Send the message at `address` and wait for the answer."""
    cdef const uint8_t *message = guest_message(task, address)
    cdef Verdict verdict
    cdef Task *dst
    cdef int32_t type, error
    cdef uint32_t size
    if message is NULL:
        return refuse(k, task, dst_id, 0, ERR_INVALID_UADDR)
    type = load_i32(message)
    if dst_id == task.id or not in_range(k, dst_id):
        return refuse(k, task, dst_id, type, ERR_INVALID_ARG)
    dst = find(k, dst_id)
    if dst is NULL:
        return refuse(k, task, dst_id, type, ERR_INVALID_TASK)
    error = check_type(k, type)
    if error:
        return refuse(k, task, dst_id, type, error)
    task.message = address
    size = message_size(k, type)
    verdict.cap = quick_check(k, task, dst, type, size, &message)
    if verdict.cap is not NULL:
        if dst.kind == PASSIVE and dst.direct and dst.state == IDLE and not (
                verdict.cap.is_limited or k.record_calls):
            return call_in_place(k, task, dst, message, type, size)
    else:
        if message is not k.copy:
            write_message(k.copy, message, type, task.id, size)
            message = k.copy
        authorize(k, task, dst, message, type, size, &verdict)
        if verdict.cap is NULL:
            return deny(k, task, dst, message, type, size, &verdict)
    return admit(k, task, dst, message, type, size, &verdict)


cdef int32_t admit(Kern *k, Task *task, Task *dst, const uint8_t *message,
                   int32_t type, uint32_t size, Verdict *verdict) noexcept nogil:
    """Go on with a call that its task has the right to."""
    if dst.kind == HOST:
        return refuse(k, task, dst.id, type, ERR_NOT_SUPPORTED)
    if dst.kind == PASSIVE and dst.direct and dst.state == IDLE:
        admitted(k, task, dst, REC_CALL, message, type, size, verdict)
        return call_in_place(k, task, dst, message, type, size)
    if dst.natives >> native_op(k, type) & 1 and not verdict.cap.has_badge and (
            task.kind != HOST):
        admitted(k, task, dst, REC_CALL, message, type, size, verdict)
        return answer_natively(k, task, dst, message, type)
    if waits_for(k, dst, task) and not receives_from(dst, task):
        return refuse(k, task, dst.id, type, ERR_DEAD_LOCK)
    note_lent(k, task, message, type)
    if receives_from(dst, task):
        if task.lends and not keep(task, message, type, size):  # it may lend itself
            return refuse(k, task, dst.id, type, ERR_NO_RESOURCES)
        admitted(k, task, dst, REC_CALL, message, type, size, verdict)
        call_begins(k, task, dst, type, verdict.cap)
        deliver(k, task, dst, message, type, size)
        wake(k, dst, OK)
        return hand_over(k, task, dst)
    if not keep(task, message, type, size):
        return refuse(k, task, dst.id, type, ERR_NO_RESOURCES)
    admitted(k, task, dst, REC_CALL, message, type, size, verdict)
    call_begins(k, task, dst, type, verdict.cap)
    task.state = SENDING
    task.peer = dst.id
    if dst.kind == SERVICE:
        push(&k.attention, task)
    elif dst.kind == PASSIVE and dst.state == IDLE and dst.memory.is_there:
        serve_next(k, dst, task)
        return hand_over(k, task, dst)
    else:
        push(&dst.senders, task)
    return PENDING


cdef inline void note_lent(Kern *k, Task *task, const uint8_t *message,
                           int32_t type) noexcept nogil:
    """What a call lends is what its message said when it was checked."""
    cdef LentField field
    task.lends = task.is_kept = False
    if <uint32_t>type < k.types and k.lent_fields[type].offset:
        field = k.lent_fields[type]
        task.lends = True
        task.lends_to_write = field.to_write
        task.lent_address = <uint32_t>load_i32(message + field.offset)
        task.lent_size = <uint32_t>load_i32(message + field.offset + 4)


cdef inline void call_begins(Kern *k, Task *task, Task *dst, int32_t type,
                             Cap *cap) noexcept nogil:
    if k.trace:
        emit(k, EV_CALL, task.id, dst.id, type, 0)
    stands_on(k, task, cap)


cdef inline void admitted(Kern *k, Task *task, Task *dst, RecordKind kind,
                          const uint8_t *message, int32_t type, uint32_t size,
                          Verdict *verdict) noexcept nogil:
    if k.record_calls:
        verdict.cause = 0
        verdict.service = dst.provides[0] if dst.provides_count else <int32_t>EVERY
        record(k, kind, task, dst, type, verdict, message, size)
    if verdict.cap.is_limited:
        use(k, verdict.cap)


cdef int32_t deny(Kern *k, Task *task, Task *dst, const uint8_t *message,
                  int32_t type, uint32_t size, Verdict *verdict) noexcept nogil:
    """Say no, unless somebody is to be asked first."""
    if task.asks and keep(task, message, type, size):
        task.state = ASKING
        task.peer = dst.id
        push(&k.attention, task)
        return PENDING
    return denied(k, task, dst, message, type, size, verdict)


cdef int32_t denied(Kern *k, Task *task, Task *dst, const uint8_t *message,
                    int32_t type, uint32_t size,
                    const Verdict *verdict) noexcept nogil:
    emit(k, EV_DENIAL, task.id, dst.id, type, ERR_NOT_ALLOWED)
    record(k, REC_DENIAL, task, dst, type, verdict, message, size)
    return ERR_NOT_ALLOWED


cdef int32_t ask_again(Kern *k, Task *task, Task *dst) noexcept nogil:
    """Somebody was asked: what does the call of `task` return now?"""
    cdef Verdict verdict
    cdef int32_t type = load_i32(task.outbox)
    cdef uint32_t size = task.outbox_size
    task.state = RUNNING
    authorize(k, task, dst, task.outbox, type, size, &verdict)
    if verdict.cap is not NULL:
        return admit(k, task, dst, task.outbox, type, size, &verdict)
    return denied(k, task, dst, task.outbox, type, size, &verdict)


cdef const uint8_t *under_way(Kern *k, Task *task, Task **dst) noexcept nogil:
    """The message of the call that `task` has under way, and to whom; NULL if
    it has none, or its receiver is over and about to release all who wait."""
    if task.state != SENDING and task.state != AWAITING:
        return NULL
    dst[0] = find(k, task.peer)
    if dst[0] is NULL:
        return NULL
    return task.outbox if task.is_kept else guest_message(task, task.message)


cdef void reconsider(Kern *k, Task *task, Cap *rule) noexcept nogil:
    """What `task` holds has become less: its call under way goes on if
    something else admits it. With `rule`, one that denies, only if it is what
    that rule is about."""
    cdef Verdict verdict
    cdef Task *dst = NULL
    cdef const uint8_t *message = under_way(k, task, &dst)
    cdef int32_t type
    cdef uint32_t size
    if message is NULL:
        return
    type = load_i32(message)
    size = message_size(k, type)
    if rule is not NULL and not denies(rule, dst, message, size):
        return
    authorize(k, task, dst, message, type, size, &verdict)
    if verdict.cap is not NULL:
        if verdict.cap.is_limited:
            use(k, verdict.cap)
        stands_on(k, task, verdict.cap)
        return
    verdict.cause = WHY_REVOKED
    verdict.culprit = 0 if task.cap is NULL else task.cap.id
    stands_on(k, task, NULL)
    wake(k, task, denied(k, task, dst, message, type, size, &verdict))


cdef int32_t refuse(Kern *k, Task *task, int32_t dst, int32_t type,
                    int32_t error) noexcept nogil:
    emit(k, EV_REFUSED, task.id, dst, type, error)
    return error


cdef inline bint receives_from(Task *dst, Task *task) noexcept nogil:
    return (dst.state == RECEIVING
            and (dst.peer == 0 or dst.peer == task.id))


cdef int32_t hand_over(Kern *k, Task *task, Task *dst) noexcept nogil:
    """Direct handoff: `dst`, just made ready, runs on the spot, and if it
    answers before it blocks, the caller goes on without being suspended."""
    if task.kind == HOST or k.depth >= MAX_HANDOVERS or (
            k.rng and random_below(k, 2)):
        return PENDING
    unlink(dst)
    resume(k, dst)
    if not task.wake:
        return PENDING
    task.wake = False
    task.state = RUNNING
    return task.result


cdef enum:
    MAX_HANDOVERS = 64      # bounds nested polls, not how deep calls may nest


cdef inline void allow_handler(Kern *k, Task *service) noexcept nogil:
    if k.deterministic:
        api.set_fuel(service.context, <uint64_t>k.handler_ns)
    else:
        api.set_epoch_deadline(service.context, k.handler_ticks)


cdef int32_t call_in_place(Kern *k, Task *task, Task *dst, const uint8_t *message,
                           int32_t type, uint32_t size) noexcept nogil:
    """Call a passive service that can't block, on the caller's own stack:
    the thread does not leave the caller, only the protection domain.
    (Migrating threads, Ford & Lepreau, USENIX Winter 1994.)"""
    cdef wasmtime_val_raw_t argument
    cdef void *error
    if k.trace:
        emit(k, EV_CALL, task.id, dst.id, type, 0)
    write_message(guest_message(dst, dst.inbox), message, type, task.id, size)
    argument.i32 = <int32_t>dst.inbox
    dst.state = RUNNING
    allow_handler(k, dst)
    error = api.call_unchecked(dst.context, &dst.entry, &argument, 1, &dst.trap)
    if k.deterministic:
        bill_handler(k, task, dst)
    account_call(task, dst, size)
    if error is not NULL or dst.trap is not NULL:
        dst.error = error
        die(k, dst, EXIT_TRAPPED)
        return ERR_ABORTED
    dst.state = IDLE
    # Both memories may have moved; neither can have shrunk.
    size = copy_reply(k, guest_message(task, task.message),
                      guest_message(dst, dst.inbox), dst.id)
    account_send(dst, task, size)
    if k.trace:
        emit(k, EV_REPLY, dst.id, task.id,
             load_i32(guest_message(task, task.message)), 0)
    return OK


cdef void bill_handler(Kern *k, Task *task, Task *dst) noexcept nogil:
    """A passive service's instructions are its caller's."""
    cdef uint64_t fuel
    api.get_fuel(dst.context, &fuel)
    task.cpu_ns += k.handler_ns - <int64_t>fuel
    k.now_ns += k.handler_ns - <int64_t>fuel


cdef int32_t ipc_recv(Kern *k, Task *task, int32_t src,
                      uint32_t address) noexcept nogil:
    """Wait for a message from `src`, or from anyone if `src` is 0."""
    cdef uint8_t *message = guest_message(task, address)
    cdef Task *peer = NULL
    cdef Task *sender
    if message is NULL:
        return refuse(k, task, src, 0, ERR_INVALID_UADDR)
    if src == task.id or (src and not in_range(k, src)):
        return refuse(k, task, src, 0, ERR_INVALID_ARG)
    if take_note(k, task, src, message, NULL):
        return OK
    if src:
        peer = find(k, src)
        if peer is NULL:
            return refuse(k, task, src, 0, ERR_INVALID_TASK)
    sender = task.senders.head
    while sender is not NULL and src and sender.id != src:
        sender = sender.next
    task.message = address
    if sender is not NULL:
        unlink(sender)
        deliver_kept(k, sender, task)
        return OK
    if peer is not NULL and waits_for(k, peer, task):
        return refuse(k, task, src, 0, ERR_DEAD_LOCK)
    task.state = RECEIVING
    task.peer = src
    if peer is not NULL:
        push(&peer.waiters, task)
    return PENDING


cdef void ipc_reply(Kern *k, Task *task, int32_t dst_id,
                    uint32_t address) noexcept nogil:
    """Answer the call of `dst`, or send it a one-way message; never blocks."""
    cdef uint8_t *message = guest_message(task, address)
    cdef Task *dst
    if message is NULL or not in_range(k, dst_id):
        refuse(k, task, dst_id, 0,
               ERR_INVALID_UADDR if message is NULL else ERR_INVALID_ARG)
        return
    dst = find(k, dst_id)
    if dst is NULL:
        emit(k, EV_LOST, task.id, dst_id, load_i32(message), ERR_INVALID_TASK)
        return
    send_reply(k, task, dst, message, message_size(k, load_i32(message)))


cdef void send_reply(Kern *k, Task *task, Task *dst, const uint8_t *message,
                     uint32_t size) noexcept nogil:
    """The right to reply is the caller's state: it awaits this very task,
    and the first answer ends that. Everything else is a one-way message."""
    cdef int32_t type = load_i32(message)
    if dst.state == AWAITING and dst.peer == task.id:
        account_send(task, dst, copy_reply(
            k, guest_message(dst, dst.message), message, task.id))
        if k.trace:
            emit(k, EV_REPLY, task.id, dst.id, type, 0)
        wake(k, dst, OK)
        return
    cdef int32_t error = check_type(k, type)
    if error == OK and dst is not task:
        error = send_oneway(k, task, dst, message, size, False)
    if error:
        emit(k, EV_LOST, task.id, dst.id, type, error)


cdef int32_t send_oneway(Kern *k, Task *task, Task *dst, const uint8_t *message,
                         uint32_t size, bint may_queue) noexcept nogil:
    """A message that nobody answers. With `may_queue` it waits in the
    receiver's mailbox until that is full; Python tasks always have one."""
    cdef int32_t type = load_i32(message)
    cdef Verdict verdict
    cdef bint wanted = expects(dst, task)
    verdict.cap = NULL
    if not wanted or task.denials:
        # Not what the receiver asked for: then a message like any other. And what
        # its sender is denied doesn't become right by being asked for.
        write_message(k.copy, message, type, task.id, size)
        message = k.copy
        authorize(k, task, dst, message, type, size, &verdict)
        if verdict.cap is NULL and not (wanted and verdict.cause != WHY_DENIED):
            return denied(k, task, dst, message, type, size, &verdict)
        if wanted:
            verdict.cap = NULL
    if receives_from(dst, task):
        went(k, task, dst, message, type, size, &verdict)
        write_message(guest_message(dst, dst.message), message, type, task.id, size)
        wake(k, dst, OK)
        return OK
    if not may_queue and dst.kind != SERVICE and dst.kind != HOST:
        return ERR_WOULD_BLOCK
    if dst.mail_count >= dst.mail_limit:
        return ERR_WOULD_BLOCK
    cdef Note *note = <Note *>malloc(sizeof(Note) + size)
    if note is NULL:
        return ERR_NO_RESOURCES
    census.notes += 1
    note.next = NULL
    note.src = task.id
    note.size = size
    note.cap = 0 if verdict.cap is NULL else verdict.cap.id
    memcpy(note.data, message, size)
    if dst.mail_tail is NULL:
        dst.mail_head = note
    else:
        dst.mail_tail.next = note
    dst.mail_tail = note
    dst.mail_count += 1
    went(k, task, dst, message, type, size, &verdict)
    if (dst.kind == SERVICE or dst.kind == HOST) and dst.queue is NULL:
        push(&k.attention, dst)
    return OK


cdef inline void went(Kern *k, Task *task, Task *dst, const uint8_t *message,
                      int32_t type, uint32_t size, Verdict *verdict) noexcept nogil:
    task.oneways += 1
    account_send(task, dst, size)
    if verdict.cap is not NULL:
        admitted(k, task, dst, REC_ONEWAY, message, type, size, verdict)
    if k.trace:
        emit(k, EV_ONEWAY, task.id, dst.id, type, 0)


cdef inline void account_call(Task *task, Task *dst, uint32_t size) noexcept nogil:
    task.calls += 1
    dst.served += 1
    account_send(task, dst, size)


cdef inline void account_send(Task *task, Task *dst, uint32_t size) noexcept nogil:
    task.bytes_sent += size
    dst.bytes_received += size


cdef bint take_note(Kern *k, Task *task, int32_t src, uint8_t *message,
                    int32_t *cap) noexcept nogil:
    """The oldest waiting one-way message from `src` (0: from anyone), and
    what admitted it."""
    cdef Note **link = &task.mail_head
    cdef Note *before = NULL
    cdef Note *note
    while link[0] is not NULL and src and link[0].src != src:
        before = link[0]
        link = &before.next
    note = link[0]
    if note is NULL:
        return False
    link[0] = note.next
    if task.mail_tail is note:
        task.mail_tail = before
    task.mail_count -= 1
    if task.wants_room:
        task.wants_room = False
        k.room_made = True
    memcpy(message, note.data, note.size)
    store_i32(message + 4, note.src)
    if cap is not NULL:
        cap[0] = note.cap
    free(note)
    census.notes -= 1
    return True


# --- what the guest's store is linked with -----------------------------------
# `call`, `recv` and `lookup` return PENDING when they must wait; see SHIM in
# core.pxi.

cdef void *host_call(void *env, void *caller, wasmtime_val_raw_t *args,
                     size_t n) noexcept nogil:
    cdef Kern *k = <Kern *>env
    args[0].i32 = suspending(k, ipc_call(
        k, k.current, args[0].i32, <uint32_t>args[1].i32))
    return NULL


cdef void *host_recv(void *env, void *caller, wasmtime_val_raw_t *args,
                     size_t n) noexcept nogil:
    cdef Kern *k = <Kern *>env
    args[0].i32 = suspending(k, ipc_recv(
        k, k.current, args[0].i32, <uint32_t>args[1].i32))
    return NULL


cdef void *host_reply(void *env, void *caller, wasmtime_val_raw_t *args,
                      size_t n) noexcept nogil:
    cdef Kern *k = <Kern *>env
    ipc_reply(k, k.current, args[0].i32, <uint32_t>args[1].i32)
    return NULL


cdef void *host_lookup(void *env, void *caller, wasmtime_val_raw_t *args,
                       size_t n) noexcept nogil:
    """Names are Python's business: the task waits until it has looked."""
    cdef Kern *k = <Kern *>env
    cdef Task *task = k.current
    if not guest_name(task, <uint32_t>args[0].i32):
        args[0].i32 = refuse(k, task, 0, 0, ERR_INVALID_UADDR)
        return NULL
    task.quietly = False
    task.state = LOOKING_UP
    task.peer = 0
    push(&k.attention, task)
    args[0].i32 = suspending(k, PENDING)
    return NULL


cdef inline int32_t suspending(Kern *k, int32_t result) noexcept nogil:
    """Make the next preemption check of the running guest suspend it."""
    if result == PENDING and not k.deterministic:
        api.set_epoch_deadline(k.current.context, 0)
    return result


cdef void *host_result(void *env, void *caller, wasmtime_val_raw_t *args,
                       size_t n) noexcept nogil:
    cdef Kern *k = <Kern *>env
    cdef Task *task = k.current
    cdef int32_t result = PENDING
    if task.wake:
        task.wake = False
        result = task.result
    args[0].i32 = suspending(k, result)
    return NULL


cdef void host_wait(void *env, void *caller, const wasmtime_val_t *args,
                    size_t nargs, wasmtime_val_t *results, size_t nresults,
                    void **trap,
                    wasmtime_async_continuation_t *go_on) noexcept nogil:
    cdef Task *task = (<Kern *>env).current
    task.waiting = results
    go_on.callback = wait_is_over
    go_on.env = task
    go_on.finalizer = NULL


cdef bool_t wait_is_over(void *env) noexcept nogil:
    cdef Task *task = <Task *>env
    if not task.wake:
        return False
    task.wake = False
    task.waiting.kind = VALKIND_I32
    task.waiting.of.i32 = task.result
    return True
