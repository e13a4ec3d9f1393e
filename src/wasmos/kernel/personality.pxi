# A personality: an adapter that turns a foreign interface into messages.
#
# Law: the adapter is a guest like any other, in the program's own store, and
# as little trusted. It has a memory of its own for its messages; into the
# program's it sees through these functions only, which check every address.

cdef class Adapter:
    """A module that the core puts between a program and the four calls.

    `module` imports them, and the three functions below, from `env`; it
    exports its `memory`, and what the program imports from `name`."""

    cdef readonly Module module
    cdef readonly bytes name
    cdef const char *dialect

    def __init__(self, Module module not None, str name not None):
        self.module = module
        self.name = name.encode()
        self.dialect = self.name


cdef void *host_program_read(void *env, void *caller, wasmtime_val_raw_t *args,
                             size_t n) noexcept nogil:
    """(from, to, size): copy from the program's memory to the adapter's."""
    cdef Task *task = (<Kern *>env).current
    args[0].i32 = copy_between(task, &task.program, <uint32_t>args[0].i32,
                               &task.memory, <uint32_t>args[1].i32,
                               <uint32_t>args[2].i32)
    return NULL


cdef void *host_program_write(void *env, void *caller, wasmtime_val_raw_t *args,
                              size_t n) noexcept nogil:
    """(to, from, size): copy from the adapter's memory to the program's."""
    cdef Task *task = (<Kern *>env).current
    args[0].i32 = copy_between(task, &task.memory, <uint32_t>args[1].i32,
                               &task.program, <uint32_t>args[0].i32,
                               <uint32_t>args[2].i32)
    return NULL


cdef inline int32_t copy_between(Task *task, Memory *from_, uint32_t source,
                                 Memory *to, uint32_t target,
                                 uint32_t size) noexcept nogil:
    cdef uint8_t *read = bytes_in(task, from_, source, size)
    cdef uint8_t *written = bytes_in(task, to, target, size)
    if read is NULL or written is NULL:
        return ERR_INVALID_UADDR
    memcpy(written, read, size)
    return OK


cdef void *host_program_lookup(void *env, void *caller, wasmtime_val_raw_t *args,
                               size_t n) noexcept nogil:
    """(name): `ipc_lookup` of what the program hasn't asked for. That it isn't
    allowed is an answer, and no denial that somebody should see."""
    cdef Task *task = (<Kern *>env).current
    cdef void *trap = host_lookup(env, caller, args, n)
    task.quietly = True
    return trap


cdef void *host_program_exit(void *env, void *caller, wasmtime_val_raw_t *args,
                             size_t n) noexcept nogil:
    """(code): the task ends itself. What comes back unwinds it."""
    cdef Task *task = (<Kern *>env).current
    task.is_leaving = True
    task.value.kind = VALKIND_I32
    task.value.of.i32 = args[0].i32
    return api.trap_new(b"exit", 4)


cdef void adapted(Kern *k, Task *task) noexcept nogil:
    """The adapter is there: link the program with it."""
    cdef wasmtime_extern_t item
    if not (api.export_get(task.context, &task.adapted, b"memory", 6, &item)
            and item.kind == EXTERN_MEMORY):
        die(k, task, EXIT_REFUSED)
        return
    adopt_memory(task, &task.memory, &item.of.memory)
    task.error = api.linker_define_instance(
        task.linker, task.context, task.dialect, strlen(task.dialect), &task.adapted)
    if task.error is not NULL:
        die(k, task, EXIT_REFUSED)
        return
    start(k, task)


cdef void left(Kern *k, Task *task) noexcept nogil:
    """It ended itself: that looks like a trap, and is none."""
    if task.trap is not NULL:
        api.trap_delete(task.trap)
        task.trap = NULL
    if task.error is not NULL:
        api.error_delete(task.error)
        task.error = NULL
    task.has_result = True
    die(k, task, EXIT_RETURNED)
