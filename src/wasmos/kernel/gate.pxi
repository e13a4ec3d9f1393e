# Gates: what a check reads.
#
# Law: a gate is for one task, one service and one type of message. It is made from
# what the task holds when it is first asked for, and thrown away whenever that
# changes: it can be missing, but never stale. Without memory for one the answer
# is no.
#
# The capabilities in it stand in hash tables, one for each shape of demands, so
# that a check costs the same with one of them and with ten thousand. (Tuple space
# search: Srinivasan, Suri, Varghese, "Packet Classification using Tuple Space
# Search", SIGCOMM 1999.) The hash only finds candidates: each is then asked in full.

cdef enum:
    MAX_KEYS = 4

# A field, or a part of it, that candidates are looked up by.
cdef struct Key:
    bint is_text
    TextMode mode
    uint32_t offset
    uint32_t size
    uint32_t mask           # of a number
    uint32_t tail           # of a text: the last so many bytes; 0: all of it

cdef struct Entry:
    uint64_t hash
    Cap *cap
    Clause *clause
    Entry *next

cdef struct Shape:
    Shape *next
    uint32_t key_count
    Key keys[MAX_KEYS]
    uint32_t count
    uint32_t mask
    Entry **buckets

cdef struct Gate:
    Cap *open               # admits any such message, and nothing is denied
    Cap *free               # admits any such message that isn't denied
    Shape *allow
    Shape *deny


# --- matching -----------------------------------------------------------------

cdef Cap *matching(Kern *k, Shape *shape, Task *dst, const uint8_t *message,
                   uint32_t size, bint denying) noexcept nogil:
    """A capability whose demands `message` meets: one without limits if there
    is one, else the oldest that can be used. What can't be told for sure, a
    text without an end, is never allowed and always denied."""
    cdef Cap *best = NULL
    cdef Entry *entry
    cdef uint64_t hash
    cdef uint32_t at
    while shape is not NULL:
        if hash_of(shape, message, size, &hash):
            entry = shape.buckets[hash & shape.mask]
            while entry is not NULL:
                if entry.hash == hash and better(k, entry, best, dst, message, size, denying):
                    best = entry.cap
                    if denying or not best.is_limited:
                        return best
                entry = entry.next
        elif denying:
            for at in range(shape.mask + 1):
                entry = shape.buckets[at]
                while entry is not NULL:
                    if better(k, entry, best, dst, message, size, True):
                        return entry.cap
                    entry = entry.next
        shape = shape.next
    return best


cdef inline bint better(Kern *k, Entry *entry, Cap *best, Task *dst,
                        const uint8_t *message, uint32_t size,
                        bint denying) noexcept nogil:
    if best is not NULL and best.id <= entry.cap.id and entry.cap.is_limited:
        return False
    return (meets(entry.clause, message, size, denying)
            and (entry.cap.excepts is NULL or not excepted(entry.cap, dst, message, size))
            and (not entry.cap.is_limited or usable(k, entry.cap)))


cdef bint excepted(Cap *cap, Task *dst, const uint8_t *message,
                   uint32_t size) noexcept nogil:
    """Whether it was passed on by somebody who was denied such a message."""
    cdef Cap *rule = cap.excepts
    while rule is not NULL:
        if denies(rule, dst, message, size):
            return True
        rule = rule.next
    return False


cdef bint covers(Cap *cap, Task *dst, const uint8_t *message,
                 uint32_t size) noexcept nogil:
    """Whether a capability is for a message, used up or not."""
    cdef Clause *clause = clause_for(cap, load_i32(message))
    return clause is not NULL and meets(clause, message, size, False) and not excepted(
        cap, dst, message, size)


cdef bint denies(Cap *rule, Task *dst, const uint8_t *message,
                 uint32_t size) noexcept nogil:
    """Whether a rule that denies is about a message to `dst`."""
    cdef Clause *clause = clause_for(rule, load_i32(message))
    cdef uint32_t i
    if clause is NULL or not meets(clause, message, size, True):
        return False
    if rule.service == EVERY:
        return True
    for i in range(dst.provides_count):
        if dst.provides[i] == rule.service:
            return True
    return False


# --- shapes -------------------------------------------------------------------

cdef inline uint64_t mix(uint64_t hash, uint64_t value) noexcept nogil:
    hash = (hash ^ value) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ (hash >> 29)


cdef uint64_t mix_text(uint64_t hash, const uint8_t *text, uint32_t length,
                       TextMode mode) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        hash = (hash ^ folded(text[i], mode)) * <uint64_t>0x100000001B3  # FNV-1a
    return mix(hash, length)


cdef bint hash_of(const Shape *shape, const uint8_t *message, uint32_t size,
                  uint64_t *hash) noexcept nogil:
    """False if the message has no such text, or none of that length."""
    cdef const Key *key
    cdef const uint8_t *text
    cdef uint32_t i, length
    cdef uint64_t value = 0
    for i in range(shape.key_count):
        key = &shape.keys[i]
        if key.offset + key.size > size:
            return False
        if not key.is_text:
            value = mix(value, <uint32_t>load_number(
                message + key.offset, key.size, False) & key.mask)
            continue
        if not text_at(message, key.offset, key.size, key.mode, &text, &length):
            return False
        if key.tail:
            if length < key.tail:
                value = mix(value, length)  # too short: finds nothing that fits
                continue
            text += length - key.tail
            length = key.tail
        value = mix_text(value, text, length, key.mode)
    hash[0] = value
    return True


cdef bint key_for(const Test *test, uint32_t alternative,
                  Key *key, uint64_t *hash) noexcept nogil:
    """The key that one alternative of a test is found by, and its part of the
    hash. False if it can only be asked."""
    cdef const Interval *interval
    cdef const Pattern *pattern
    cdef uint64_t width
    cdef uint32_t i
    cdef uint64_t value
    memset(key, 0, sizeof(Key))     # keys are compared byte by byte
    key.offset = test.offset
    key.size = test.size
    if test.kind == TEST_INT:
        interval = &test.intervals[alternative]
        if test.size > 4:
            return False    # a key is of 32 bits
        width = <uint64_t>(interval.high - interval.low) + 1
        if width & (width - 1) or <uint64_t>interval.low & (width - 1) or width >> 32:
            return False
        key.mask = ~<uint32_t>(width - 1)
        hash[0] = mix(hash[0], <uint32_t>interval.low & key.mask)
        return True
    if test.kind != TEST_TEXT or test.patterns[alternative].kind == PATTERN_LIKE:
        return False
    pattern = &test.patterns[alternative]
    if pattern.size == 0:
        return False
    key.is_text = True
    key.mode = test.mode
    key.tail = pattern.size if pattern.kind == PATTERN_ENDS else 0
    value = hash[0]
    for i in range(pattern.size):
        value = (value ^ pattern.tokens[i]) * <uint64_t>0x100000001B3
    hash[0] = mix(value, pattern.size)
    return True


cdef bint add_clause(Shape **shapes, Cap *cap, Clause *clause) noexcept nogil:
    """Enter a clause. The tests with one alternative make its key, and one
    with several, if each of those can be looked up: then it is entered once
    for each. False without memory."""
    cdef Test *several = NULL
    cdef Test *test
    cdef Key key
    cdef uint64_t hash
    cdef uint32_t i, j
    for i in range(clause.count):
        test = &clause.tests[i]
        if test.count < 2 or (several is not NULL and several.count >= test.count):
            continue
        hash = 0
        for j in range(test.count):
            if not key_for(test, j, &key, &hash):
                break
        else:
            several = test
    for j in range(several.count if several is not NULL else 1):
        if not add_entry(shapes, cap, clause, several, j):
            return False
    return True


cdef bint add_entry(Shape **shapes, Cap *cap, Clause *clause, Test *several,
                    uint32_t alternative) noexcept nogil:
    cdef Shape wanted
    cdef Shape *shape
    cdef Entry *entry
    cdef Test *test
    cdef uint64_t hash = 0
    cdef uint32_t i
    memset(&wanted, 0, sizeof(Shape))
    for i in range(clause.count):
        test = &clause.tests[i]
        if wanted.key_count < MAX_KEYS and (test.count == 1 or test is several):
            if key_for(test, alternative if test is several else 0,
                       &wanted.keys[wanted.key_count], &hash):
                wanted.key_count += 1
            else:
                memset(&wanted.keys[wanted.key_count], 0, sizeof(Key))
    shape = shapes[0]
    while shape is not NULL and (
            shape.key_count != wanted.key_count
            or memcmp(shape.keys, wanted.keys, sizeof(wanted.keys))):
        shape = shape.next
    if shape is NULL:
        shape = <Shape *>malloc(sizeof(Shape))
        if shape is NULL:
            return False
        shape[0] = wanted
        shape.mask = 0
        shape.buckets = <Entry **>calloc(1, sizeof(Entry *))
        if shape.buckets is NULL:
            free(shape)
            return False
        shape.next = shapes[0]
        shapes[0] = shape
    if shape.key_count and shape.count > shape.mask and not widen(shape):
        return False
    entry = <Entry *>malloc(sizeof(Entry))
    if entry is NULL:
        return False
    entry.hash = hash
    entry.cap = cap
    entry.clause = clause
    entry.next = shape.buckets[hash & shape.mask]
    shape.buckets[hash & shape.mask] = entry
    shape.count += 1
    return True


cdef bint widen(Shape *shape) noexcept nogil:
    """Four times as many buckets: there are always at least as many as entries."""
    cdef uint32_t size = 4 * (shape.mask + 1), i
    cdef Entry **buckets = <Entry **>calloc(size, sizeof(Entry *))
    cdef Entry *entry
    cdef Entry *next
    if buckets is NULL:
        return False
    for i in range(shape.mask + 1):
        entry = shape.buckets[i]
        while entry is not NULL:
            next = entry.next
            entry.next = buckets[entry.hash & (size - 1)]
            buckets[entry.hash & (size - 1)] = entry
            entry = next
    free(shape.buckets)
    shape.buckets = buckets
    shape.mask = size - 1
    return True


cdef void free_shapes(Shape *shape) noexcept nogil:
    cdef Shape *next_shape
    cdef Entry *entry
    cdef Entry *next
    cdef uint32_t i
    while shape is not NULL:
        next_shape = shape.next
        for i in range(shape.mask + 1):
            entry = shape.buckets[i]
            while entry is not NULL:
                next = entry.next
                free(entry)
                entry = next
        free(shape.buckets)
        free(shape)
        shape = next_shape


# --- gates --------------------------------------------------------------------

cdef Gate *gate_of(Kern *k, Task *task, int32_t service,
                   int32_t type) noexcept nogil:
    """The gate for a service and a type; NULL if nothing is held that could
    be in it, or without memory."""
    cdef Hold *wild = hold_of(task, EVERY)
    cdef Hold *hold = wild if service == EVERY else hold_of(task, service)
    cdef uint32_t slot = <uint32_t>type if 0 < type < <int64_t>k.types else 0
    cdef Gate **grown
    if hold is NULL:
        if wild is NULL:
            return NULL
        hold = wild
    if slot >= hold.slots:
        grown = <Gate **>realloc(hold.gates, (slot + 1) * sizeof(Gate *))
        if grown is NULL:
            return NULL
        memset(grown + hold.slots, 0, (slot + 1 - hold.slots) * sizeof(Gate *))
        hold.gates = grown
        hold.slots = slot + 1
    if hold.gates[slot] is NULL:
        hold.gates[slot] = make_gate(k, wild, hold, <int32_t>slot)
    return hold.gates[slot]


cdef Gate *make_gate(Kern *k, Hold *wild, Hold *hold,
                     int32_t type) noexcept nogil:
    cdef Gate *gate = <Gate *>calloc(1, sizeof(Gate))
    if gate is NULL:
        return NULL
    if not fill_gate(gate, wild, type) or (
            hold is not wild and not fill_gate(gate, hold, type)):
        free_gate(gate)
        return NULL
    if gate.deny is NULL:
        gate.open = gate.free
    return gate


cdef bint fill_gate(Gate *gate, Hold *hold, int32_t type) noexcept nogil:
    cdef Cap *cap = NULL if hold is NULL else hold.head
    cdef Clause *clause
    while cap is not NULL:
        clause = clause_for(cap, type)
        if clause is not NULL:
            if cap.deny:
                if not add_clause(&gate.deny, cap, clause):
                    return False
            elif clause.count == 0 and cap.excepts is NULL and not cap.is_limited:
                if gate.free is NULL or cap.id < gate.free.id:
                    gate.free = cap
            elif not add_clause(&gate.allow, cap, clause):
                return False
        cap = cap.next
    return True


cdef void free_gate(Gate *gate) noexcept nogil:
    free_shapes(gate.allow)
    free_shapes(gate.deny)
    free(gate)


cdef void forget_gates(Hold *hold) noexcept nogil:
    cdef uint32_t i
    for i in range(hold.slots):
        if hold.gates[i] is not NULL:
            free_gate(hold.gates[i])
            hold.gates[i] = NULL


cdef void changed(Task *task, int32_t service) noexcept nogil:
    """What `task` holds for a service is not what it was. What it holds for
    all of them is part of every gate."""
    cdef uint32_t i
    cdef Hold *hold
    task.open_dst = 0
    task.rights += 1
    if service != EVERY:
        hold = hold_of(task, service)
        if hold is not NULL:
            forget_gates(hold)
        return
    for i in range(task.hold_count):
        if task.holds[i] is not NULL:
            forget_gates(task.holds[i])
