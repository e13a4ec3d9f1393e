# Authority: what a task may send, and to whom.
#
# Law: a task starts with nothing, and every message is decided on here, before it
# is delivered. What denies wins over what allows.

cdef enum Why:
    WHY_NO_CAPABILITY = 1   # none for this service
    WHY_MESSAGE             # some for the service, none for the message
    WHY_FIELD               # some for the message, with other demands
    WHY_DENIED              # a rule denies it
    WHY_EXPIRED
    WHY_SPENT
    WHY_SERVER              # the service itself said so
    WHY_REVOKED             # taken back while the call was under way

WHY_NAMES = {
    0: "", WHY_NO_CAPABILITY: "no_capability", WHY_MESSAGE: "message",
    WHY_FIELD: "field", WHY_DENIED: "denied", WHY_EXPIRED: "expired",
    WHY_SPENT: "spent", WHY_SERVER: "server", WHY_REVOKED: "revoked",
}

cdef struct Verdict:
    Cap *cap
    int32_t cause
    int32_t culprit         # the capability that says no, or nearly says yes
    int32_t service


cdef inline Hold *hold_of(Task *task, int32_t service) noexcept nogil:
    cdef uint32_t at = <uint32_t>(service + 1)
    return task.holds[at] if at < task.hold_count else NULL


cdef inline Gate *ready_gate(Task *task, Task *dst, int32_t type) noexcept nogil:
    """The gate between the two for a type of message, if there is just one
    and it was made already; NULL is no answer."""
    cdef Hold *hold
    if dst.provides_count != 1:
        return NULL
    hold = hold_of(task, dst.provides[0])
    if hold is NULL:
        hold = hold_of(task, EVERY)
    return NULL if hold is NULL or <uint32_t>type >= hold.slots else hold.gates[type]


cdef inline Cap *quick_check(Kern *k, Task *task, Task *dst, int32_t type,
                             uint32_t size, const uint8_t **message) noexcept nogil:
    """The capability by which `task` may send a message to `dst`, if that is
    easily told; NULL is no answer. What was looked into is a private copy, and
    `message` is that copy then."""
    if task.open_dst == dst.id and task.open_type == type:
        return task.open_cap
    cdef Gate *gate = ready_gate(task, dst, type)
    if gate is NULL:
        return NULL
    if gate.open is not NULL:
        task.open_dst = dst.id
        task.open_type = type
        task.open_cap = gate.open
        return gate.open
    if gate.deny is not NULL or gate.free is not NULL:
        return NULL
    write_message(k.copy, message[0], type, task.id, size)
    message[0] = k.copy
    return matching(k, gate.allow, dst, k.copy, size, False)


cdef void authorize(Kern *k, Task *task, Task *dst, const uint8_t *message,
                    int32_t type, uint32_t size, Verdict *verdict) noexcept nogil:
    """Whether `task` may send `message`, a private copy, to `dst`."""
    cdef uint32_t i, count = dst.provides_count
    cdef Gate *gate
    cdef Cap *cap
    verdict.cap = NULL
    verdict.cause = WHY_NO_CAPABILITY
    verdict.culprit = 0
    verdict.service = EVERY
    for i in range(count if count else 1):
        service = dst.provides[i] if count else <int32_t>EVERY
        if i == 0:
            verdict.service = service
        gate = gate_of(k, task, service, type)
        if gate is NULL:
            continue
        cap = matching(k, gate.deny, dst, message, size, True)
        if cap is not NULL:
            verdict.cap = NULL
            verdict.cause = WHY_DENIED
            verdict.culprit = cap.id
            verdict.service = service
            return
        if verdict.cap is NULL or verdict.cap.is_limited:
            cap = gate.free
            if cap is NULL:
                cap = matching(k, gate.allow, dst, message, size, False)
            if cap is not NULL and (verdict.cap is NULL or not cap.is_limited):
                verdict.cap = cap
                verdict.service = service
    if verdict.cap is NULL:
        find_cause(k, task, dst, type, verdict)


cdef void find_cause(Kern *k, Task *task, Task *dst, int32_t type,
                     Verdict *verdict) noexcept nogil:
    """Why nothing admits it: the nearest miss, the oldest of several."""
    cdef uint32_t i, count = dst.provides_count
    cdef int32_t cause
    cdef Cap *cap
    cdef Hold *hold
    for i in range(2 * count if count else 1):
        hold = hold_of(task, dst.provides[i // 2] if i & 1 else <int32_t>EVERY)
        cap = NULL if hold is NULL else hold.head
        while cap is not NULL:
            cause = 0 if cap.deny else misses(k, cap, type)
            if cause > verdict.cause:
                verdict.cause = cause
                verdict.culprit = cap.id
            cap = cap.next


cdef int32_t misses(Kern *k, Cap *cap, int32_t type) noexcept nogil:
    """Why a capability that admits nothing of the kind doesn't."""
    if not covers_type(cap, type):
        return WHY_MESSAGE
    if cap.expires_ns != FOREVER and cap.expires_ns <= time_now(k):
        return WHY_EXPIRED
    if not has_uses(cap):
        return WHY_SPENT
    return WHY_FIELD


cdef bint may_look_up(Task *task, int32_t service) noexcept nogil:
    """Whether `task` holds anything at all for a service, which isn't denied it nor
    whom it has that from."""
    cdef bint found = False
    cdef Hold *hold
    cdef Cap *cap
    cdef Cap *rule
    for at in range(2):
        hold = hold_of(task, service if at else <int32_t>EVERY)
        if hold is not NULL and hold.shuts:
            return False
        cap = NULL if hold is NULL else hold.head
        while cap is not NULL and not found:
            rule = cap.excepts
            while rule is not NULL and (
                    rule.clause_count or rule.service not in (EVERY, service)):
                rule = rule.next
            found = rule is NULL and not cap.deny
            cap = cap.next
    return found


cdef inline bint expects(Task *task, Task *sender) noexcept nogil:
    """Whether one-way messages of `sender` are what `task` asked for: it
    holds a capability for a service that `sender` is."""
    cdef uint32_t i
    for i in range(sender.provides_count):
        if may_look_up(task, sender.provides[i]):
            return True
    return False


cdef inline int64_t time_now(Kern *k) noexcept nogil:
    return k.now_ns if k.deterministic else monotonic_ns()


cdef bint counts_uses(Cap *cap) noexcept nogil:
    while cap is not NULL:
        if cap.uses != UNLIMITED:
            return True
        cap = cap.parent
    return False


cdef bint has_uses(Cap *cap) noexcept nogil:
    while cap is not NULL:
        if cap.uses == 0:
            return False
        cap = cap.parent
    return True


cdef inline bint usable(Kern *k, Cap *cap) noexcept nogil:
    return (cap.expires_ns == FOREVER or cap.expires_ns > time_now(k)) and has_uses(cap)


cdef void use(Kern *k, Cap *cap) noexcept nogil:
    """A message is admitted: whoever passed the right on has used it, too."""
    while cap is not NULL:
        if cap.uses > 0:
            cap.uses -= 1
            if cap.uses == 0:   # once in its life
                cap.refs += 1
                cap.spent = k.spent
                k.spent = cap
        cap = cap.parent


cdef void forget_open(Kern *k) noexcept nogil:
    """What tasks remember of whom they may send to counts no longer."""
    cdef uint32_t i
    for i in range(k.mask + 1):
        if k.table[i] is not NULL:
            k.table[i].open_dst = 0
            k.table[i].rights += 1
