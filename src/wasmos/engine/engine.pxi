# Engine and module: configured once, then shared by every store of a kernel.
#
# Law: a feature that is not in ENGINE_FEATURES is off. The list is explicit
# because the library turns proposals on by default as they mature, and each
# of them is attack surface (tests/engine/test_features.py tries them all).

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_create(pthread_t *, void *, void *(*)(void *) noexcept nogil,
                       void *)
    int pthread_join(pthread_t, void **)
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_cond_init(pthread_cond_t *, void *)
    int pthread_cond_destroy(pthread_cond_t *)
    int pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *)
    int pthread_cond_signal(pthread_cond_t *)

cdef extern from * nogil:
    """
    static inline void full_fence(void) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    """
    void full_fence()

cdef extern from *:
    """
    #ifdef __SANITIZE_ADDRESS__
    #define SANITIZED 1
    #else
    #define SANITIZED 0
    #endif
    """
    int SANITIZED_ "SANITIZED"

# Whether this is the AddressSanitizer build of the extension (`make asan`).
SANITIZED = bool(SANITIZED_)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)
    int nanosleep(const timespec *, timespec *)

cdef enum:
    MAX_POOL_TASKS = 20_000
    # Room for host frames on a fibre beside the guests' own stacks.
    HOST_STACK_BYTES = 256 * 1024

ENGINE_FEATURES = {
    "wasm_bulk_memory": True,
    "wasm_multi_value": True,
    "wasm_simd": True,
    "wasm_relaxed_simd": True,
    "wasm_relaxed_simd_deterministic": True,    # the same results on every machine
    "wasm_reference_types": True,   # what every current toolchain emits
    "wasm_tail_call": True,
    "wasm_threads": True,           # atomic instructions, which one thread can use as well;
    "shared_memory": False,         # but nothing that a second one would need
    "wasm_function_references": False,
    "wasm_gc": False,
    "wasm_multi_memory": False,
    "wasm_memory64": False,
    "wasm_wide_arithmetic": False,
    "wasm_exceptions": True,        # C++ and Haskell throw; of the two encodings the standard one
    "wasm_custom_page_sizes": False,
    "wasm_stack_switching": False,
    "wasm_component_model": False,
    "wasm_branch_hinting": False,
    "wasm_compact_imports": False,
}

cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef str take_message(wasm_byte_vec_t *vec):
    """The text of `vec`, which is freed."""
    cdef bytes raw = PyBytes_FromStringAndSize(vec.data, <Py_ssize_t>vec.size)
    api.byte_vec_delete(vec)
    return raw.rstrip(b"\0").decode("utf-8", "replace")


cdef str take_error(void *error):
    """The message of `error`, which is freed."""
    cdef wasm_byte_vec_t vec
    api.error_message(error, &vec)
    api.error_delete(error)
    return take_message(&vec)


# --------------------------------------------------------------------------
# The ticker: a thread without Python that moves the epoch while guests run,
# so that a guest which never calls anything is preempted too. It parks
# itself when no guest runs: an idle system costs no wake-ups.

cdef struct Ticker:
    pthread_t thread
    pthread_mutex_t mutex
    pthread_cond_t wake
    void *engine
    int64_t period_ns
    volatile bint guests_run
    volatile bint parked
    volatile bint stop


cdef void *ticker_main(void *env) noexcept nogil:
    cdef Ticker *ticker = <Ticker *>env
    cdef timespec period
    period.tv_sec = ticker.period_ns // 1000000000
    period.tv_nsec = ticker.period_ns % 1000000000
    while not ticker.stop:
        if not ticker.guests_run:
            pthread_mutex_lock(&ticker.mutex)
            ticker.parked = True
            full_fence()    # with the one in ticker_start: one of us sees the other
            while not ticker.guests_run and not ticker.stop:
                pthread_cond_wait(&ticker.wake, &ticker.mutex)
            ticker.parked = False
            pthread_mutex_unlock(&ticker.mutex)
        nanosleep(&period, NULL)
        api.increment_epoch(ticker.engine)
    return NULL


cdef inline void ticker_start(Ticker *ticker) noexcept nogil:
    """Guests are about to run."""
    if ticker is NULL:
        return
    ticker.guests_run = True
    full_fence()
    if ticker.parked:
        pthread_mutex_lock(&ticker.mutex)
        pthread_cond_signal(&ticker.wake)
        pthread_mutex_unlock(&ticker.mutex)


cdef inline void ticker_pause(Ticker *ticker) noexcept nogil:
    if ticker is not NULL:
        ticker.guests_run = False


cdef void config_bool(void *config, str name, bint value) except *:
    cdef void *setter = symbol(f"wasmtime_config_{name}_set".encode())
    (<void (*)(void *, bool_t) noexcept nogil>setter)(config, value)


cdef void config_size(void *config, str name, uint64_t value) except *:
    cdef void *setter = symbol(f"wasmtime_config_{name}_set".encode())
    (<void (*)(void *, uint64_t) noexcept nogil>setter)(config, value)


cdef void config_byte(void *config, str name, uint8_t value) except *:
    cdef void *setter = symbol(f"wasmtime_config_{name}_set".encode())
    (<void (*)(void *, uint8_t) noexcept nogil>setter)(config, value)


cdef void use_pool(void *config, dict pool) except *:
    """The pooling allocator: faster spawns, `tasks` live tasks at most.

    A task takes two instances, its own and the shim of the four calls; one with
    a personality takes a third, and two memories. Whose program throws takes one
    memory more, for what it has thrown."""
    cdef void *new = symbol(b"wasmtime_pooling_allocation_config_new")
    cdef void *options = (<void *(*)() noexcept nogil>new)()
    cdef uint64_t tasks = pool["tasks"]
    rows = {
        "total_core_instances": 3 * tasks, "total_memories": tasks,
        "total_tables": tasks, "total_stacks": tasks, "total_gc_heaps": tasks,
        "max_memories_per_module": 1, "max_tables_per_module": 4,
        "max_memory_size": pool["memory_bytes"],
        "table_elements": pool["table_elements"],
        "linear_memory_keep_resident": pool["keep_resident_bytes"],
        "table_keep_resident": 4096,
        "async_stack_keep_resident": pool["keep_resident_bytes"],
    }
    # The library panics, and takes the process along, when the reservations
    # don't fit the address space: 4 GiB and guards a memory, of 47 bits.
    if tasks > MAX_POOL_TASKS:
        raise ValueError(f"a pool holds {MAX_POOL_TASKS:,} tasks at most")
    cdef void *setter
    for name, value in rows.items():
        setter = symbol(
            f"wasmtime_pooling_allocation_config_{name}_set".encode())
        if name.startswith(("total_", "max_memories", "max_tables")):
            (<void (*)(void *, uint32_t) noexcept nogil>setter)(options, value)
        else:
            (<void (*)(void *, size_t) noexcept nogil>setter)(options, value)
    setter = symbol(b"wasmtime_pooling_allocation_strategy_set")
    (<void (*)(void *, void *) noexcept nogil>setter)(config, options)
    setter = symbol(b"wasmtime_pooling_allocation_config_delete")
    (<void (*)(void *) noexcept nogil>setter)(options)


cdef class Engine:
    """One configuration of the engine: features, stacks, preemption.

    `stack_bytes`: how deep a guest may recurse. `tick_ns`: how often a running
    guest is preempted; 0 means deterministic preemption by counting
    instructions instead of by a clock. `pool`: options of the pooling
    allocator, or None to allocate on demand.
    """

    cdef void *ptr
    cdef Ticker *ticker
    cdef readonly size_t stack_bytes
    cdef readonly bint deterministic
    cdef readonly int64_t tick_ns

    def __cinit__(self, *, size_t stack_bytes, int64_t tick_ns,
                  bint optimize=True, bint parallel=False, dict pool=None):
        self.ptr = NULL
        self.ticker = NULL
        if library_handle is NULL:
            raise RuntimeError("load_library() comes first")
        self.stack_bytes = stack_bytes
        self.tick_ns = tick_ns
        self.deterministic = tick_ns == 0
        cdef void *config = api.config_new()
        for name, value in ENGINE_FEATURES.items():
            config_bool(config, name, value)
        config_bool(config, "epoch_interruption", not self.deterministic)
        config_bool(config, "consume_fuel", self.deterministic)
        config_bool(config, "parallel_compilation", parallel)
        # A memory stays where it is reserved, so its base is read once.
        config_bool(config, "memory_may_move", False)
        config_byte(config, "strategy", STRATEGY_CRANELIFT)
        config_byte(config, "cranelift_opt_level",
                    OPT_SPEED if optimize else OPT_NONE)
        config_size(config, "max_wasm_stack", stack_bytes)
        # A fibre holds its own guest, then our host functions and the pollers
        # of other fibres, and a passive service called on top of them.
        config_size(config, "async_stack_size",
                    2 * stack_bytes + HOST_STACK_BYTES)
        if pool is not None:
            use_pool(config, pool)
        self.ptr = api.engine_new(config)
        if self.ptr is NULL:
            raise MemoryError("the engine refused its configuration")

    def __dealloc__(self):
        self.stop_ticker()
        if self.ptr is not NULL:
            api.engine_delete(self.ptr)

    cdef void start_ticker(self) except *:
        """Started with the first guest: an engine that only compiles, as in
        the compiler's child process, needs no thread."""
        if self.deterministic or self.ticker is not NULL:
            return
        cdef Ticker *ticker = <Ticker *>calloc(1, sizeof(Ticker))
        if ticker is NULL:
            raise MemoryError
        ticker.engine = self.ptr
        ticker.period_ns = self.tick_ns
        pthread_mutex_init(&ticker.mutex, NULL)
        pthread_cond_init(&ticker.wake, NULL)
        if pthread_create(&ticker.thread, NULL, ticker_main, ticker):
            free(ticker)
            raise OSError("cannot start the preemption thread")
        self.ticker = ticker

    cdef void stop_ticker(self) noexcept:
        cdef Ticker *ticker = self.ticker
        if ticker is NULL:
            return
        self.ticker = NULL
        with nogil:
            pthread_mutex_lock(&ticker.mutex)
            ticker.stop = True
            pthread_cond_signal(&ticker.wake)
            pthread_mutex_unlock(&ticker.mutex)
            pthread_join(ticker.thread, NULL)
        pthread_cond_destroy(&ticker.wake)
        pthread_mutex_destroy(&ticker.mutex)
        free(ticker)


cdef class Module:
    """Compiled code, for the engine it was compiled with."""

    cdef void *ptr
    cdef readonly Engine engine

    def __cinit__(self):
        self.ptr = NULL

    def __dealloc__(self):
        if self.ptr is not NULL:
            api.module_delete(self.ptr)

    @staticmethod
    def compile(Engine engine not None, bytes wasm not None):
        """Compile here and now, without limits: for trusted modules and for
        the compiler's child process. Raises ValueError for an invalid one."""
        cdef Module module = Module()
        cdef const uint8_t *data = <const uint8_t *><const char *>wasm
        cdef size_t size = len(wasm)
        cdef void *error
        with nogil:
            # Compiling validates, too, but function by function: what is wrong
            # with a late one is found after what may have taken a minute.
            error = api.module_validate(engine.ptr, data, size)
            if error is NULL:
                error = api.module_new(engine.ptr, data, size, &module.ptr)
        if error is not NULL:
            raise ValueError(take_error(error))
        module.engine = engine
        return module

    @staticmethod
    def load(Engine engine not None, bytes code not None):
        """Load what `serialize` wrote. `code` is trusted as machine code is:
        it must come from our own compiler and from nowhere else."""
        cdef Module module = Module()
        cdef const uint8_t *data = <const uint8_t *><const char *>code
        cdef size_t size = len(code)
        cdef void *error
        with nogil:
            error = api.module_deserialize(engine.ptr, data, size, &module.ptr)
        if error is not NULL:
            raise ValueError(take_error(error))
        module.engine = engine
        return module

    def serialize(self):
        """The compiled code as bytes."""
        cdef wasm_byte_vec_t vec
        cdef void *error = api.module_serialize(self.ptr, &vec)
        if error is not NULL:
            raise ValueError(take_error(error))
        cdef bytes code = PyBytes_FromStringAndSize(vec.data,
                                                    <Py_ssize_t>vec.size)
        api.byte_vec_delete(&vec)
        return code


def wat2wasm(bytes text not None):
    """WebAssembly text to binary. Raises ValueError with line and column."""
    cdef wasm_byte_vec_t vec
    cdef const char *data = <const char *>text
    cdef size_t size = len(text)
    cdef void *error
    with nogil:     # a megabyte that says the right thing takes seconds
        error = api.wat2wasm(data, size, &vec)
    if error is not NULL:
        raise ValueError(take_error(error))
    cdef bytes wasm = PyBytes_FromStringAndSize(vec.data, <Py_ssize_t>vec.size)
    api.byte_vec_delete(&vec)
    return wasm


# --- names of functions -------------------------------------------------------

cdef enum:
    MAX_NAMES = 1_000_000       # that are looked through: some 5 ms
    MAX_NAME_LENGTH = 1024      # bytes; the rest isn't shown
    MAX_WANTED = 32


def names_of(bytes module not None, size_t start, size_t stop, wanted):
    """What the name section there calls the first 32 functions of `wanted`:
    index → name. From where it is damaged on it names nothing."""
    cdef const uint8_t *at = <const uint8_t *><const char *>module + start
    cdef const uint8_t *end = at + (stop - start)
    cdef uint32_t indices[MAX_WANTED]
    cdef uint32_t kind = 0, size = 0, count = 0, index, i
    cdef int n = 0
    cdef dict found = {}
    for index in wanted[:MAX_WANTED]:
        indices[n] = index
        n += 1
    while kind != 1:            # the subsection of functions
        at += size
        if not (leb(&at, end, &kind) and leb(&at, end, &size) and size <= end - at):
            return found
    end = at + size
    leb(&at, end, &count)
    for i in range(min(count, <uint32_t>MAX_NAMES)):
        if not (leb(&at, end, &index) and leb(&at, end, &size) and size <= end - at):
            break
        for each in indices[:n]:
            if each == index:
                found[index] = name_text(at, size)
        at += size
    return found


cdef str name_text(const uint8_t *at, size_t size):
    return at[:min(size, <size_t>MAX_NAME_LENGTH)].decode("utf-8", "replace")


cdef inline bint leb(const uint8_t **at, const uint8_t *end, uint32_t *value) noexcept nogil:
    """Read a number of the format. False if there is none before `end`."""
    cdef int shift = 0
    value[0] = 0
    while at[0] < end and shift < 35:
        value[0] |= <uint32_t>(at[0][0] & 0x7F) << shift
        at[0] += 1
        if at[0][-1] < 0x80:
            return True
        shift += 7
    return False
