# The one door to a guest's memory.
#
# Law: a guest's number becomes a pointer here and nowhere else, by 64-bit
# arithmetic against the memory's size. Memories don't move (engine.pxi sees to
# that) and never shrink: the last size seen is enough to say yes, and only a
# no has to ask the engine.

cdef inline uint8_t *bytes_in(Task *task, Memory *memory, uint32_t address,
                              uint64_t size) noexcept nogil:
    """`size` bytes at `address`, or NULL if any of them is outside."""
    if <uint64_t>address + size > memory.bytes:
        if not memory.is_there:
            return NULL
        memory.bytes = api.memory_size(task.context, &memory.handle)
        if <uint64_t>address + size > memory.bytes:
            return NULL
    return memory.base + address


cdef inline uint8_t *guest_bytes(Task *task, uint32_t address,
                                 uint64_t size) noexcept nogil:
    """Of the memory that a task's messages are in."""
    if task.kind == HOST or task.kind == SERVICE:
        return task.buffer if address == 0 and size <= MESSAGE_BYTES else NULL
    return bytes_in(task, &task.memory, address, size)


cdef inline uint8_t *lent_bytes(Task *task, uint32_t address,
                                uint64_t size) noexcept nogil:
    """Of the memory that a task's messages can lend."""
    if task.kind == HOST or task.kind == SERVICE:
        return NULL
    return bytes_in(task, &task.program if task.adapter is not NULL else &task.memory,
                    address, size)


cdef inline void adopt_memory(Task *task, Memory *memory,
                              const wasmtime_memory_t *handle) noexcept nogil:
    """A memory that a guest exports is there."""
    memory.handle = handle[0]
    memory.base = api.memory_data(task.context, handle)
    memory.bytes = api.memory_size(task.context, handle)
    memory.is_there = True


cdef uint64_t own_memory(Task *task) noexcept nogil:
    """The bytes that a guest's memory has now: of the program's, which knows nothing of its
    adapter's."""
    cdef Memory *memory = &task.program if task.adapter is not NULL else &task.memory
    return api.memory_size(task.context, &memory.handle) if memory.is_there else 0


cdef inline uint8_t *guest_message(Task *task,
                                   uint32_t address) noexcept nogil:
    """A whole `struct message` at `address`, or NULL."""
    return guest_bytes(task, address, MESSAGE_BYTES)


cdef bint guest_name(Task *task, uint32_t address) noexcept nogil:
    """Copy the NUL-terminated name at `address` to `task.name`; False if it
    leaves the memory or is longer than a service name can be."""
    cdef uint32_t i
    cdef uint8_t *byte
    for i in range(NAME_BYTES):
        if <uint64_t>address + i > <uint64_t>0xFFFFFFFF:
            return False
        byte = guest_bytes(task, address + i, 1)
        if byte is NULL:
            return False
        task.name[i] = <char>byte[0]
        if byte[0] == 0:
            return True
    return False


# Guests may pass unaligned addresses: load and store by copying.

cdef inline int32_t load_i32(const uint8_t *at) noexcept nogil:
    cdef int32_t value
    memcpy(&value, at, 4)
    return value


cdef inline void store_i32(uint8_t *at, int32_t value) noexcept nogil:
    memcpy(at, &value, 4)


cdef inline uint32_t message_size(Kern *k, int32_t type) noexcept nogil:
    """Bytes of a message that its receiver may see: what its definition says,
    all of them for types that no definition is known for, the header alone
    for errors."""
    if type < 0:
        return HEADER_BYTES
    if <uint32_t>type < k.types and k.sizes[type]:
        return k.sizes[type]
    return MESSAGE_BYTES


cdef inline void write_message(uint8_t *to, const uint8_t *from_, int32_t type,
                               int32_t src, uint32_t size) noexcept nogil:
    """Copy a message whose type was fetched already, and stamp its sender:
    what was decided on is what arrives."""
    memcpy(to + HEADER_BYTES, from_ + HEADER_BYTES, size - HEADER_BYTES)
    store_i32(to, type)
    store_i32(to + 4, src)


cdef inline uint32_t copy_message(Kern *k, uint8_t *to, const uint8_t *from_,
                                  int32_t src) noexcept nogil:
    """As `write_message`, for one that nothing was decided on; the number of
    bytes copied."""
    cdef int32_t type = load_i32(from_)
    cdef uint32_t size = message_size(k, type)
    write_message(to, from_, type, src, size)
    return size
