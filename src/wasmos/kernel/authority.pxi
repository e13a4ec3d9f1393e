# Authority: what a task may send, and to whom.
#
# Law: a task starts with nothing. What it holds is a list of capabilities for
# each service, and that list is the truth. What a check reads, the gates, is
# made from the list when it is first asked for and thrown away whenever the
# list changes: a gate can be missing, but never stale. Without memory for one
# the answer is no.
#
# A gate is for one task, one service and one type of message. The capabilities
# in it stand in hash tables, one for each shape of demands, so that a check
# costs the same with one of them and with ten thousand. (Tuple space search:
# Srinivasan, Suri, Varghese, "Packet Classification using Tuple Space Search",
# SIGCOMM 1999.) The hash only finds candidates: each is then asked in full.

cdef enum:
    EVERY = -1              # the "service" of a capability for all of them
    FOREVER = 0x7FFFFFFFFFFFFFFF
    UNLIMITED = -1
    MAX_KEYS = 4
    ANY_BYTE = 256          # tokens of a pattern beyond the bytes
    RUN_IN_NAME = 257
    RUN = 258

cdef enum TestKind:
    TEST_INT
    TEST_LENGTH
    TEST_TEXT

cdef enum TextMode:
    TEXT_PLAIN
    TEXT_HOSTNAME           # case folded, one trailing dot ignored
    TEXT_PATH               # one leading and one trailing slash ignored

cdef enum PatternKind:
    PATTERN_IS
    PATTERN_ENDS
    PATTERN_LIKE

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

cdef struct Interval:
    int64_t low
    int64_t high

cdef struct Pattern:
    PatternKind kind
    uint32_t size
    uint16_t *tokens

# What is demanded of one field: one of the alternatives.
cdef struct Test:
    TestKind kind
    TextMode mode
    bint is_signed
    uint32_t offset
    uint32_t size
    uint32_t count
    Interval *intervals
    Pattern *patterns

# What a capability demands of one type of message: all of the tests.
cdef struct Clause:
    int32_t type
    uint32_t count
    Test *tests

cdef struct Cap:
    int32_t id
    int32_t service
    bint deny
    bint all_messages       # besides those that `clauses` speaks of
    bint dead               # taken back; kept while somebody refers to it
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
    Cap *older              # among all that weren't taken back
    Cap *newer

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

# What one task holds for one service.
cdef struct Hold:
    Cap *head               # the oldest first
    Cap *tail
    uint32_t allows
    uint32_t shuts          # how many deny every message
    Gate **gates            # by type; 0: types that nobody has defined
    uint32_t slots

cdef struct Verdict:
    Cap *cap
    int32_t cause
    int32_t culprit         # the capability that says no, or nearly says yes
    int32_t service


# --- the check ----------------------------------------------------------------

cdef inline Hold *hold_of(Task *task, int32_t service) noexcept nogil:
    cdef uint32_t at = <uint32_t>(service + 1)
    return task.holds[at] if at < task.hold_count else NULL


cdef inline Cap *opens(Task *task, Task *dst, int32_t type) noexcept nogil:
    """The capability by which `task` may send any message of this type to
    `dst`, if that is known already; NULL is no answer."""
    cdef Hold *hold
    cdef Gate *gate
    if dst.provides_count != 1:
        return NULL
    hold = hold_of(task, dst.provides[0])
    if hold is NULL:
        hold = hold_of(task, EVERY)
    if hold is NULL or <uint32_t>type >= hold.slots:
        return NULL
    gate = hold.gates[type]
    return NULL if gate is NULL else gate.open


cdef void authorize(Kern *k, Task *task, Task *dst, const uint8_t *message,
                    int32_t type, uint32_t size,
                    Verdict *verdict) noexcept nogil:
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
        cap = matching(k, gate.deny, message, size, True)
        if cap is not NULL:
            verdict.cap = NULL
            verdict.cause = WHY_DENIED
            verdict.culprit = cap.id
            verdict.service = service
            return
        if verdict.cap is NULL or is_limited(verdict.cap):
            cap = gate.free
            if cap is NULL:
                cap = matching(k, gate.allow, message, size, False)
            if cap is not NULL and (verdict.cap is NULL or not is_limited(cap)):
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
    """Whether `task` holds anything at all for a service."""
    cdef Hold *wild = hold_of(task, EVERY)
    cdef Hold *hold = NULL if service == EVERY else hold_of(task, service)
    cdef uint32_t allows = 0
    if wild is not NULL:
        if wild.shuts:
            return False
        allows = wild.allows
    if hold is not NULL:
        if hold.shuts:
            return False
        allows += hold.allows
    return allows > 0


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


cdef inline bint is_limited(Cap *cap) noexcept nogil:
    """Whether it can be used up, or runs out."""
    while cap is not NULL:
        if cap.uses != UNLIMITED or cap.expires_ns != FOREVER:
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
            if cap.uses == 0:
                k.spent = True
        cap = cap.parent


# --- matching -----------------------------------------------------------------

cdef Cap *matching(Kern *k, Shape *shape, const uint8_t *message,
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
                if entry.hash == hash and better(k, entry, best, message, size, denying):
                    best = entry.cap
                    if denying or not is_limited(best):
                        return best
                entry = entry.next
        elif denying:
            for at in range(shape.mask + 1):
                entry = shape.buckets[at]
                while entry is not NULL:
                    if better(k, entry, best, message, size, True):
                        return entry.cap
                    entry = entry.next
        shape = shape.next
    return best


cdef inline bint better(Kern *k, Entry *entry, Cap *best,
                        const uint8_t *message, uint32_t size,
                        bint denying) noexcept nogil:
    if best is not NULL and best.id <= entry.cap.id and is_limited(entry.cap):
        return False
    return (meets(entry.clause, message, size, denying)
            and not excepted(entry.cap, message, size)
            and usable(k, entry.cap))


cdef bint meets(const Clause *clause, const uint8_t *message, uint32_t size,
                bint unsure) noexcept nogil:
    """Whether a message meets all demands; `unsure` is the answer where that
    can't be told."""
    cdef uint32_t i
    for i in range(clause.count):
        if not passes(&clause.tests[i], message, size, unsure):
            return False
    return True


cdef bint excepted(Cap *cap, const uint8_t *message,
                   uint32_t size) noexcept nogil:
    """Whether it was passed on by somebody who was denied such a message."""
    cdef Cap *rule = cap.excepts
    cdef Clause *clause
    while rule is not NULL:
        clause = clause_for(rule, load_i32(message))
        if clause is not NULL and meets(clause, message, size, True):
            return True
        rule = rule.next
    return False


cdef bint passes(const Test *test, const uint8_t *message, uint32_t size,
                 bint unsure) noexcept nogil:
    cdef const uint8_t *text
    cdef uint32_t length, i
    if test.offset + test.size > size:
        return unsure
    if test.kind == TEST_INT:
        return within(test, load_number(message + test.offset, test.size, test.is_signed))
    if test.kind == TEST_LENGTH:
        if not text_at(message, test.offset, test.size, TEXT_PLAIN, &text, &length):
            return unsure
        return within(test, length)
    if not text_at(message, test.offset, test.size, test.mode, &text, &length):
        return unsure
    for i in range(test.count):
        if fits(&test.patterns[i], text, length, test.mode):
            return True
    return False


cdef inline int64_t load_number(const uint8_t *at, uint32_t size,
                                bint is_signed) noexcept nogil:
    cdef uint16_t small
    if size == 2:
        memcpy(&small, at, 2)
        return small
    return load_i32(at) if is_signed else <int64_t><uint32_t>load_i32(at)


cdef bint within(const Test *test, int64_t value) noexcept nogil:
    """Binary search: the intervals are in order and apart."""
    cdef uint32_t low = 0, high = test.count, middle
    while low < high:
        middle = (low + high) >> 1
        if value > test.intervals[middle].high:
            low = middle + 1
        elif value < test.intervals[middle].low:
            high = middle
        else:
            return True
    return False


cdef bint text_at(const uint8_t *message, uint32_t offset, uint32_t size,
                  TextMode mode, const uint8_t **text,
                  uint32_t *length) noexcept nogil:
    """A text as it is compared. False if it has no end, or is a path that
    doesn't say by itself where it leads."""
    cdef const uint8_t *start = message + offset
    cdef const uint8_t *end = <const uint8_t *>memchr(start, 0, size)
    cdef const uint8_t *at
    cdef const uint8_t *name
    if end is NULL:
        return False
    if mode == TEXT_HOSTNAME and end > start and (end - 1)[0] == c'.':
        end -= 1
    elif mode == TEXT_PATH:
        if start < end and start[0] == c'/':
            start += 1
        if start < end and (end - 1)[0] == c'/':
            end -= 1
        name = at = start
        while start < end and at <= end:
            if at == end or at[0] == c'/':
                if at == name or (name[0] == c'.' and (
                        at - name == 1 or (at - name == 2 and name[1] == c'.'))):
                    return False
                name = at + 1
            at += 1
    text[0] = start
    length[0] = <uint32_t>(end - start)
    return True


cdef inline uint8_t folded(uint8_t byte, TextMode mode) noexcept nogil:
    if mode == TEXT_HOSTNAME and c'A' <= byte <= c'Z':
        return byte + 32
    return byte


cdef bint fits(const Pattern *pattern, const uint8_t *text, uint32_t length,
               TextMode mode) noexcept nogil:
    cdef uint32_t i
    if pattern.kind == PATTERN_LIKE:
        return fits_tokens(pattern, text, length, mode)
    if length < pattern.size or (
            pattern.kind == PATTERN_IS and length != pattern.size):
        return False
    # What ends so has something before the end: the apex isn't its own subdomain.
    if pattern.kind == PATTERN_ENDS and length == pattern.size:
        return False
    text += length - pattern.size
    for i in range(pattern.size):
        if folded(text[i], mode) != pattern.tokens[i]:
            return False
    return True


cdef bint fits_tokens(const Pattern *pattern, const uint8_t *text,
                      uint32_t length, TextMode mode) noexcept nogil:
    """Follow all ways through the pattern at once: no text can make this
    take longer than its length times the pattern's. (Thompson, "Regular
    expression search algorithm", CACM 11(6), 1968.)"""
    cdef uint8_t at[MESSAGE_BYTES + 1]  # at[j]: the first j tokens are matched
    cdef uint8_t was, before, run
    cdef uint32_t i, j, token
    cdef uint8_t byte
    memset(at, 0, pattern.size + 1)
    at[0] = True
    for j in range(pattern.size):
        at[j + 1] = at[j] and pattern.tokens[j] >= RUN_IN_NAME
    for i in range(length):
        byte = folded(text[i], mode)
        before = at[0]
        at[0] = False
        for j in range(pattern.size):
            token = pattern.tokens[j]
            was = at[j + 1]
            if token >= RUN_IN_NAME:
                # Stays in the run, or passes it by without a byte.
                run = token == RUN or byte != c'/'
                at[j + 1] = at[j] or (run and (was or before))
            elif token == ANY_BYTE:
                at[j + 1] = before and (mode != TEXT_PATH or byte != c'/')
            else:
                at[j + 1] = before and token == byte
            before = was
    return at[pattern.size]


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
            elif clause.count == 0 and cap.excepts is NULL and not is_limited(cap):
                if gate.free is NULL or cap.id < gate.free.id:
                    gate.free = cap
            elif not add_clause(&gate.allow, cap, clause):
                return False
        cap = cap.next
    return True


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
    for i in range(task.hold_count):
        if task.holds[i] is not NULL and (service == EVERY or i == <uint32_t>(service + 1)):
            forget_gates(task.holds[i])


# --- holding ------------------------------------------------------------------

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
    hold.allows += not cap.deny
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
    hold.allows -= not cap.deny
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
    cap.dead = True
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


cdef void free_tests(Test *tests, uint32_t count) noexcept:
    cdef uint32_t i, j
    for i in range(count):
        if tests[i].patterns is not NULL:
            for j in range(tests[i].count):
                free(tests[i].patterns[j].tokens)
        free(tests[i].patterns)
        free(tests[i].intervals)
    free(tests)


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


# --- from Python --------------------------------------------------------------

_MODES = {"plain": TEXT_PLAIN, "hostname": TEXT_HOSTNAME, "path": TEXT_PATH}
_PATTERNS = {"is": PATTERN_IS, "ends": PATTERN_ENDS, "like": PATTERN_LIKE}


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


cdef int clause_make(Clause *clause, int32_t type, rows) except -1:
    clause.type = type
    clause.tests = <Test *>calloc(max(1, len(rows)), sizeof(Test))
    if clause.tests is NULL:
        raise MemoryError
    for row in rows:
        clause.count += 1
        test_make(&clause.tests[clause.count - 1], row)
    return 0


cdef int test_make(Test *test, tuple row) except -1:
    kind, test.offset, test.size = row[:3]
    # Not 1,512 minus the header: a field's place counts from the message's start.
    if not HEADER_BYTES <= test.offset <= test.offset + test.size <= MESSAGE_BYTES:
        raise ValueError(f"no field lies at {test.offset}+{test.size}")
    if kind == "text":
        test.kind = TEST_TEXT
        test.mode = _MODES[row[3]]
        return patterns_make(test, row[4])
    test.kind = TEST_INT if kind == "int" else TEST_LENGTH
    if kind == "int":
        test.is_signed = row[3]
        if test.size != 2 and test.size != 4:
            raise ValueError("a number has 2 or 4 bytes")
    intervals = row[len(row) - 1]
    test.intervals = <Interval *>calloc(max(1, len(intervals)), sizeof(Interval))
    if test.intervals is NULL:
        raise MemoryError
    for low, high in intervals:
        if low > high or (test.count and low <= test.intervals[test.count - 1].high):
            raise ValueError("intervals are in order and apart")
        test.intervals[test.count].low = low
        test.intervals[test.count].high = high
        test.count += 1
    return 0


cdef int patterns_make(Test *test, rows) except -1:
    cdef Pattern *pattern
    cdef uint32_t i
    test.patterns = <Pattern *>calloc(max(1, len(rows)), sizeof(Pattern))
    if test.patterns is NULL:
        raise MemoryError
    for kind, tokens in rows:
        if len(tokens) > MESSAGE_BYTES:
            raise ValueError("a pattern is longer than a message")
        pattern = &test.patterns[test.count]
        pattern.kind = _PATTERNS[kind]
        pattern.tokens = <uint16_t *>calloc(max(1, len(tokens)), sizeof(uint16_t))
        if pattern.tokens is NULL:
            raise MemoryError
        test.count += 1
        pattern.size = len(tokens)
        for i in range(pattern.size):
            pattern.tokens[i] = tokens[i]
    return 0
