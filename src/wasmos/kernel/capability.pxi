# Capabilities: who holds what.
#
# Law: a capability is held by one task at most, stands in one list of that task's,
# and is freed when nobody refers to it any more: not the ledger, not one that was
# derived from it, not a call that it admitted.

cdef enum:
    EVERY = -1              # the "service" of a capability for all of them
    FOREVER = 0x7FFFFFFFFFFFFFFF
    UNLIMITED = -1

cdef struct Gate

cdef struct Cap:
    int32_t id
    int32_t service
    bint deny
    bint has_badge          # which only its service understands
    bint is_limited         # it, or what it was derived from, can end by itself
    bint all_messages       # besides those that `clauses` speaks of
    int64_t uses
    int64_t expires_ns
    uint32_t refs           # 1 while it lives, its children, calls under way
    uint32_t clause_count
    Clause *clauses
    Cap *excepts            # what it doesn't admit all the same: a chain of rules
    Task *holder            # NULL: an offer, or the holder has ended
    Cap *parent
    void *caller            # how services see its holder, a reference or NULL
    Cap *next               # in its hold, or among the unreferenced
    Cap *prev
    Cap *spent              # the next of those that are used up
    Cap *older              # among all that weren't taken back
    Cap *newer

# What one task holds for one service.
cdef struct Hold:
    Cap *head               # the oldest first
    Cap *tail
    uint32_t shuts          # how many deny every message
    Gate **gates            # by type; 0: types that nobody has defined
    uint32_t slots


cdef Clause no_demands
no_demands.type = 0
no_demands.count = 0
no_demands.tests = NULL


cdef Clause *clause_for(Cap *cap, int32_t type) noexcept nogil:
    """What `cap` demands of a type; NULL if it doesn't cover it."""
    cdef uint32_t i
    for i in range(cap.clause_count):
        if cap.clauses[i].type == type:
            return &cap.clauses[i]
    return &no_demands if cap.all_messages else NULL


cdef inline bint covers_type(Cap *cap, int32_t type) noexcept nogil:
    return clause_for(cap, type) is not NULL


cdef Cap *cap_make(int32_t id, int32_t service, messages, dict tests) except NULL:
    """A capability that nobody holds yet, from the compiled form of a rule:
    `messages` are the types it covers (None: all), `tests` what it demands
    of some. Raises ValueError, MemoryError."""
    cdef Cap *cap = <Cap *>calloc(1, sizeof(Cap))
    if cap is NULL:
        raise MemoryError
    census.caps += 1
    cap.id = id
    cap.service = service
    cap.refs = 1
    cap.uses = UNLIMITED
    cap.expires_ns = FOREVER
    cap.all_messages = messages is None
    try:
        types = sorted(tests if messages is None else messages)
        cap.clauses = <Clause *>calloc(max(1, len(types)), sizeof(Clause))
        if cap.clauses is NULL:
            raise MemoryError
        for type in types:
            cap.clause_count += 1
            clause_make(&cap.clauses[cap.clause_count - 1], type, tests.get(type, ()))
    except BaseException:
        cap_free(cap)
        raise
    return cap


cdef bint cap_attach(Task *task, Cap *cap) noexcept nogil:
    """Let `task` hold `cap`; False without memory, and then nothing changed."""
    cdef uint32_t at = <uint32_t>(cap.service + 1)
    cdef Hold **grown
    cdef Hold *hold
    if at >= task.hold_count:
        grown = <Hold **>realloc(task.holds, (at + 1) * sizeof(Hold *))
        if grown is NULL:
            return False
        memset(grown + task.hold_count, 0, (at + 1 - task.hold_count) * sizeof(Hold *))
        task.holds = grown
        task.hold_count = at + 1
    if task.holds[at] is NULL:
        task.holds[at] = <Hold *>calloc(1, sizeof(Hold))
        if task.holds[at] is NULL:
            return False
    hold = task.holds[at]
    cap.holder = task
    cap.prev = hold.tail
    cap.next = NULL
    if hold.tail is NULL:
        hold.head = cap
    else:
        hold.tail.next = cap
    hold.tail = cap
    task.denials += cap.deny
    hold.shuts += cap.deny and cap.all_messages and not cap.clause_count
    changed(task, cap.service)
    return True


cdef void cap_detach(Cap *cap) noexcept nogil:
    """Its holder holds it no longer."""
    cdef Task *task = cap.holder
    cdef Hold *hold
    if task is NULL:
        return
    hold = task.holds[cap.service + 1]
    changed(task, cap.service)
    if cap.prev is NULL:
        hold.head = cap.next
    else:
        cap.prev.next = cap.next
    if cap.next is NULL:
        hold.tail = cap.prev
    else:
        cap.next.prev = cap.prev
    task.denials -= cap.deny
    hold.shuts -= cap.deny and cap.all_messages and not cap.clause_count
    cap.holder = NULL
    cap.next = cap.prev = NULL
    if hold.head is NULL:
        free(hold.gates)
        free(hold)
        task.holds[cap.service + 1] = NULL


cdef inline void cap_release(Kern *k, Cap *cap) noexcept nogil:
    """One reference less. Freed later: its Python part needs the lock."""
    cdef Cap *parent
    while cap is not NULL:
        cap.refs -= 1
        if cap.refs:
            return
        parent = cap.parent
        cap.next = k.unreferenced
        k.unreferenced = cap
        cap = parent


cdef inline void stands_on(Kern *k, Task *task, Cap *cap) noexcept nogil:
    """The call of `task` that is under way was admitted by `cap`."""
    if task.cap is cap:
        return
    if cap is not NULL:
        cap.refs += 1
    if task.cap is not NULL:
        cap_release(k, task.cap)
    task.cap = cap


cdef void enter(Kern *k, Cap *cap) noexcept nogil:
    cap.older = k.newest
    if k.newest is not NULL:
        k.newest.newer = cap
    k.newest = cap


cdef void leave(Kern *k, Cap *cap) noexcept nogil:
    """It is taken back: whoever still refers to it keeps its memory alone."""
    cap_detach(cap)
    if cap.newer is NULL:
        k.newest = cap.older
    else:
        cap.newer.older = cap.older
    if cap.older is not NULL:
        cap.older.newer = cap.newer
    cap_release(k, cap)


cdef void cap_free(Cap *cap) noexcept:
    cdef uint32_t i
    cdef Cap *rule = cap.excepts
    while rule is not NULL:
        cap.excepts = rule.next
        cap_free(rule)
        rule = cap.excepts
    for i in range(cap.clause_count):
        free_tests(cap.clauses[i].tests, cap.clauses[i].count)
    free(cap.clauses)
    if cap.caller is not NULL:
        Py_DECREF(<object>cap.caller)
    free(cap)
    census.caps -= 1


cdef void free_holds(Task *task) noexcept nogil:
    """For a task that holds nothing any more."""
    free(task.holds)
    task.holds = NULL
    task.hold_count = 0


cdef bint set_provides(Task *task, int32_t service) noexcept:
    """Enter `service` among those that `task` is; False without memory."""
    cdef int32_t *grown = <int32_t *>realloc(
        task.provides, (task.provides_count + 1) * sizeof(int32_t))
    if grown is NULL:
        return False
    task.provides = grown
    grown[task.provides_count] = service
    task.provides_count += 1
    return True
