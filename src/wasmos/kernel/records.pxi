# The records: what an audit wants to know, with the message that it is about.
#
# Law: writing one allocates nothing and can't fail. Unlike events they aren't
# overwritten: when half of the ring is full, the running guest is preempted and
# somebody has to take them out. Only with the virtual clock, where nobody can
# be preempted at will, can the ring be full; then the number lost is told.
# Denials are taken out after each slice; messages that were admitted, if they
# are recorded at all, may wait for more of their kind: many at once are cheap.

cdef enum:
    RECORDS = 512

cdef enum RecordKind:
    REC_DENIAL = 1
    REC_CALL
    REC_ONEWAY

RECORD_NAMES = {REC_DENIAL: "denial", REC_CALL: "call", REC_ONEWAY: "oneway"}

cdef struct Record:
    int64_t time_ns
    uint8_t kind
    uint8_t cause
    uint16_t size           # of `data`
    int32_t task
    int32_t peer
    int32_t service
    int32_t type
    int32_t cap             # that admitted it, that denied it, or nearly admitted it
    uint32_t count          # this very record, so often in a row
    uint8_t data[MESSAGE_BYTES]     # all of it: what decided can be the last field

cdef void record(Kern *k, RecordKind kind, Task *task, Task *dst, int32_t type,
                 const Verdict *verdict, const uint8_t *message,
                 uint32_t size) noexcept nogil:
    cdef Record *last
    cdef Record *row
    cdef int32_t cap = verdict.culprit if verdict.cap is NULL else verdict.cap.id
    cdef uint64_t waiting = k.record_next - k.record_read
    if waiting and kind == REC_DENIAL:
        last = &k.records[(k.record_next - 1) & k.record_mask]
        if (last.kind == kind and last.task == task.id and last.peer == dst.id
                and last.type == type and last.cause == verdict.cause
                and last.cap == cap and last.size == size
                and memcmp(last.data, message, size) == 0):
            last.count += 1
            return
    if waiting > k.record_mask:
        k.records_lost += 1
        return
    row = &k.records[k.record_next & k.record_mask]
    row.time_ns = time_now(k)
    row.kind = kind
    row.cause = verdict.cause
    row.size = <uint16_t>size
    row.task = task.id
    row.peer = dst.id
    row.service = verdict.service
    row.type = type
    row.cap = cap
    row.count = 1
    memcpy(row.data, message, size)
    k.record_next += 1
    k.record_urgent = k.record_urgent or kind == REC_DENIAL
    if 2 * waiting >= k.record_mask:
        make_room(k)


cdef inline bint records_wait(Kern *k) noexcept nogil:
    """Whether so many are there that somebody should take them out."""
    return 2 * (k.record_next - k.record_read) > k.record_mask


cdef void make_room(Kern *k) noexcept nogil:
    """Preempt whoever runs; the slice ends with that."""
    if not k.deterministic and k.current is not NULL and k.current.context is not NULL:
        api.set_epoch_deadline(k.current.context, 0)
