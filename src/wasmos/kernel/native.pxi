# Services that the core itself answers: time and randomness.
#
# Law: they answer at once, on the caller's time, and only under a capability
# without a badge; everything else about them is a Python service's business.


cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME
    int clock_getres(int, timespec *)

cdef extern from * nogil:
    """
    #include <unistd.h>
    #ifdef __APPLE__
    #include <sys/random.h>
    #endif
    /* At most 256 bytes of the host's randomness; 0 if it has them. */
    static int host_random(void *bytes, size_t size) { return getentropy(bytes, size); }
    """
    int host_random(void *bytes, size_t size)

cdef enum NativeOp:
    NATIVE_NONE
    NATIVE_CLOCK            # clock_get
    NATIVE_RESOLUTION       # clock_resolution
    NATIVE_RANDOM           # random_get

NATIVE_OPS = {"clock_get": NATIVE_CLOCK, "clock_resolution": NATIVE_RESOLUTION,
              "random_get": NATIVE_RANDOM}

cdef enum ClockId:          # those of WASI
    REALTIME
    MONOTONIC
    PROCESS_CPU
    THREAD_CPU

cdef enum:
    HOST_RANDOM_BYTES = 256     # that the host gives at once
    MAX_RANDOM_BYTES = 1 << 20  # in one call, which isn't preempted: about 10 ms


cdef inline NativeOp native_op(Kern *k, int32_t type) noexcept nogil:
    if <uint32_t>type < k.types:
        return <NativeOp>k.native_ops[type]
    return NATIVE_NONE


cdef int32_t answer_natively(Kern *k, Task *task, Task *dst,
                             const uint8_t *message, int32_t type) noexcept nogil:
    """The whole call: its answer is in the caller's message when it returns."""
    cdef uint8_t *answer = guest_message(task, task.message)
    cdef NativeOp op = native_op(k, type)
    cdef int64_t value = 0
    cdef int32_t error
    if op == NATIVE_RANDOM:
        error = fill_randomly(k, task, <uint32_t>load_i32(message + 8),
                              <uint32_t>load_i32(message + 12))
    elif op == NATIVE_CLOCK:
        error = read_clock(k, task, load_i32(message + 8), &value)
        memcpy(answer + 8, &value, 8)
    else:
        error = resolution(k, load_i32(message + 8), &value)
        memcpy(answer + 8, &value, 8)
    store_i32(answer, error if error else type + 1)    # an rpc's two numbers
    store_i32(answer + 4, dst.id)
    account_call(task, dst, message_size(k, type))
    account_send(dst, task, message_size(k, load_i32(answer)))
    if k.trace:
        emit(k, EV_CALL, task.id, dst.id, type, 0)
        emit(k, EV_REPLY, dst.id, task.id, load_i32(answer), 0)
    return OK


cdef int32_t read_clock(Kern *k, Task *task, int32_t id, int64_t *ns) noexcept nogil:
    cdef timespec at
    cdef int64_t now
    if id == REALTIME:
        if k.deterministic:
            ns[0] = virtual_now(k, task)
        else:
            clock_gettime(CLOCK_REALTIME, &at)
            ns[0] = <int64_t>at.tv_sec * 1_000_000_000 + at.tv_nsec
    elif id == MONOTONIC:
        ns[0] = virtual_now(k, task) if k.deterministic else monotonic_ns()
    elif id == PROCESS_CPU or id == THREAD_CPU:
        if k.deterministic:
            ns[0] = task.cpu_ns + virtual_now(k, task) - k.now_ns
        else:
            now = monotonic_ns()
            ns[0] = task.cpu_ns + (now - k.now_ns if k.current is task else 0)
    else:
        return ERR_INVALID_ARG
    return OK


cdef int64_t virtual_now(Kern *k, Task *task) noexcept nogil:
    """The virtual clock, with what the running guest has executed since it
    was last billed."""
    cdef uint64_t fuel
    if task.context is NULL or k.current is not task:
        return k.now_ns
    api.get_fuel(task.context, &fuel)
    return k.now_ns + <int64_t>(task.fuel_last - fuel)


cdef int32_t resolution(Kern *k, int32_t id, int64_t *ns) noexcept nogil:
    cdef timespec step
    if <uint32_t>id > <uint32_t>THREAD_CPU:
        return ERR_INVALID_ARG
    if k.deterministic:
        ns[0] = 1
        return OK
    clock_getres(CLOCK_REALTIME, &step)
    ns[0] = <int64_t>step.tv_sec * 1_000_000_000 + step.tv_nsec
    return OK


cdef int32_t fill_randomly(Kern *k, Task *task, uint32_t address,
                           uint32_t size) noexcept nogil:
    """Fill what a message lends. The host is asked for more than is wanted at
    once: a call of its costs more than the bytes do. None is given twice, and
    none is kept once it was given."""
    cdef uint8_t *at = lent_bytes(task, address, size)
    cdef Entropy *entropy = &k.entropy
    if size > MAX_RANDOM_BYTES:
        return ERR_TOO_LARGE
    if at is NULL:
        return ERR_INVALID_UADDR
    if size > ENTROPY_BYTES:
        return OK if from_host(at, size) else ERR_IO_ERROR
    if entropy.left < size:
        if not from_host(entropy.bytes, ENTROPY_BYTES):
            return ERR_IO_ERROR
        entropy.left = ENTROPY_BYTES
    entropy.left -= size
    memcpy(at, entropy.bytes + entropy.left, size)
    memset(entropy.bytes + entropy.left, 0, size)
    return OK


cdef bint from_host(uint8_t *at, uint32_t size) noexcept nogil:
    cdef uint32_t part
    while size:
        part = min(size, <uint32_t>HOST_RANDOM_BYTES)
        if host_random(at, part):
            return False
        at += part
        size -= part
    return True
