# The event ring: what happened, newest last, bounded.
#
# Law: writing an event allocates nothing and can't fail; the oldest is
# overwritten. Calls and replies are recorded only while tracing is on.

cdef enum EventKind:
    EV_SPAWN = 1
    EV_EXIT
    EV_LOOKUP
    EV_REGISTER
    EV_CALL
    EV_REPLY
    EV_ONEWAY
    EV_DENIAL
    EV_GRANT
    EV_LOST      # a reply or one-way message that nobody could take
    EV_REFUSED   # a call that the kernel answered with an error itself

EVENT_NAMES = {
    EV_SPAWN: "spawn", EV_EXIT: "exit", EV_LOOKUP: "lookup",
    EV_REGISTER: "register", EV_CALL: "call", EV_REPLY: "reply",
    EV_ONEWAY: "oneway", EV_DENIAL: "denial", EV_GRANT: "grant",
    EV_LOST: "lost", EV_REFUSED: "refused",
}

cdef struct Event:
    uint64_t seq
    int64_t time_ns
    int32_t task
    int32_t peer
    int32_t type
    int32_t value
    uint8_t kind


cdef void emit(Kern *k, EventKind kind, int32_t task, int32_t peer,
               int32_t type, int32_t value) noexcept nogil:
    cdef Event *event = &k.ring[k.ring_next & k.ring_mask]
    event.seq = k.ring_next
    event.time_ns = k.now_ns
    event.kind = kind
    event.task = task
    event.peer = peer
    event.type = type
    event.value = value
    k.ring_next += 1
