# Demands: what a capability wants of a message's fields.
#
# Law: a message is asked about here as a private copy and nowhere else. Where a
# field doesn't lie in the message, or a text has no end, whoever asks says what
# "can't be told" means: no for what allows, yes for what denies.

cdef enum:
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


cdef bint meets(const Clause *clause, const uint8_t *message, uint32_t size,
                bint unsure) noexcept nogil:
    """Whether a message meets all demands; `unsure` is the answer where that
    can't be told."""
    cdef uint32_t i
    for i in range(clause.count):
        if not passes(&clause.tests[i], message, size, unsure):
            return False
    return True


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
    cdef int64_t large
    if size == 2:
        memcpy(&small, at, 2)
        return small
    if size == 8:
        memcpy(&large, at, 8)
        return large
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


# --- from the compiled form of a rule ---------------------------------------------

_MODES = {"plain": TEXT_PLAIN, "hostname": TEXT_HOSTNAME, "path": TEXT_PATH}
_PATTERNS = {"is": PATTERN_IS, "ends": PATTERN_ENDS, "like": PATTERN_LIKE}


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
        if test.size not in (2, 4, 8):
            raise ValueError("a number has 2, 4 or 8 bytes")
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


cdef void free_tests(Test *tests, uint32_t count) noexcept:
    cdef uint32_t i, j
    for i in range(count):
        if tests[i].patterns is not NULL:
            for j in range(tests[i].count):
                free(tests[i].patterns[j].tokens)
        free(tests[i].patterns)
        free(tests[i].intervals)
    free(tests)
