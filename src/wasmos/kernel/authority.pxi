# Authority: which services a task may send to.
#
# Law: a task starts with nothing. Services are numbered by name, a task holds
# a set of numbers, and a check is one bit, whatever the number of grants.

cdef inline bint holds(Task *task, int32_t service) noexcept nogil:
    cdef uint32_t word = <uint32_t>service >> 6
    return (word < task.held_words
            and (task.held[word] >> (<uint32_t>service & 63)) & 1)


cdef inline bint may_call(Task *task, Task *dst) noexcept nogil:
    """Whether `task` holds a capability for any service that `dst` is."""
    cdef uint32_t i
    if task.holds_all:
        return True
    for i in range(dst.provides_count):
        if holds(task, dst.provides[i]):
            return True
    return False


cdef inline bint may_notify(Task *task, Task *dst) noexcept nogil:
    """A one-way message needs a capability between the two: the receiver
    holds one for the service that sends, or the sender may call the receiver.
    Who is no service is nobody's asked-for one, also of those who hold all."""
    return (task.provides_count and may_call(dst, task)) or may_call(task, dst)


cdef bint set_held(Task *task, int32_t service, bint held) noexcept:
    """Grant or take back; False without memory, and then nothing changed."""
    cdef uint32_t word = <uint32_t>service >> 6
    cdef uint64_t bit = <uint64_t>1 << (<uint32_t>service & 63)
    cdef uint64_t *grown
    if word >= task.held_words:
        if not held:
            return True
        grown = <uint64_t *>realloc(task.held, (word + 1) * 8)
        if grown is NULL:
            return False
        memset(grown + task.held_words, 0, (word + 1 - task.held_words) * 8)
        task.held = grown
        task.held_words = word + 1
    if held:
        task.held[word] |= bit
    else:
        task.held[word] &= ~bit
    return True


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
