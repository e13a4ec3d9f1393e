# The core: the only door from Python into the kernel.
#
# Law: one thread at a time, and never from within a guest: methods here run on
# the thread's own stack with no fibre above it. What needs Python (names,
# services written in it, the end of a task) waits in `attention` and `dead`
# until `step` gets to it.

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

cdef extern from "Python.h":
    bint PyCoro_CheckExact(object)

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef extern from * nogil:
    """
    #include <pthread.h>
    /* The lowest address of the calling thread's stack. */
    static void *stack_low(void) {
    #ifdef __APPLE__
        pthread_t self = pthread_self();
        return (char *)pthread_get_stackaddr_np(self) - pthread_get_stacksize_np(self);
    #else
        pthread_attr_t attributes;
        void *low = NULL;
        size_t size;
        if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
            pthread_attr_getstack(&attributes, &low, &size);
            pthread_attr_destroy(&attributes);
        }
        return low;
    #endif
    }
    static int forks; /* that this process comes from, since this was loaded */
    static void forked(void) { forks++; }
    __attribute__((constructor)) static void count(void) { pthread_atfork(NULL, NULL, forked); }
    """
    void *stack_low()
    int forks

# What each store is linked with: the four calls as guests know them, made of
# functions that answer at once. One that must wait says PENDING and moves the
# task's preemption deadline to now: the check at the head of the loop below
# suspends the fibre, and `result` tells, after the wake, what to return. The
# engine's own way, a host function that can suspend, costs three times that;
# it is used with the virtual clock, where there are no deadlines to move.
SHIM = b"""
(module $wasmos:calls
  (import "kernel" "call" (func $call (param i32 i32) (result i32)))
  (import "kernel" "recv" (func $recv (param i32 i32) (result i32)))
  (import "kernel" "lookup" (func $lookup (param i32) (result i32)))
  (import "kernel" "reply" (func $reply (param i32 i32)))
  (import "kernel" "result" (func $result (result i32)))
  (func (export "program_read") (import "kernel" "program_read")
    (param i32 i32 i32) (result i32))
  (func (export "program_write") (import "kernel" "program_write")
    (param i32 i32 i32) (result i32))
  (import "kernel" "program_lookup" (func $quietly (param i32) (result i32)))
  (func (export "program_exit") (import "kernel" "program_exit") (param i32))
  (func $finish (param i32) (result i32)
    (loop $again
      (if (i32.eq (local.get 0) (i32.const 0x80000000))
        (then (local.set 0 (call $result)) (br $again))))
    (local.get 0))
  (func $ipc_call (export "ipc_call") (param i32 i32) (result i32)
    (call $finish (call $call (local.get 0) (local.get 1))))
  (func $ipc_recv (export "ipc_recv") (param i32 i32) (result i32)
    (call $finish (call $recv (local.get 0) (local.get 1))))
  (func $ipc_lookup (export "ipc_lookup") (param i32) (result i32)
    (call $finish (call $lookup (local.get 0))))
  (func $program_lookup (export "program_lookup") (param i32) (result i32)
    (call $finish (call $quietly (local.get 0))))
  (func $ipc_reply (export "ipc_reply") (param i32 i32)
    (call $reply (local.get 0) (local.get 1))))
"""

CAUSES = {EXIT_RETURNED: "returned", EXIT_TRAPPED: "trapped",
          EXIT_REFUSED: "refused", EXIT_CPU_LIMIT: "cpu_limit",
          EXIT_KILLED: "killed"}
KINDS = {WASM: "wasm", PASSIVE: "passive", SERVICE: "service", HOST: "host"}
STATES = {READY: "ready", RUNNING: "running", RECEIVING: "receiving",
          SENDING: "sending", AWAITING: "awaiting reply", ASKING: "asking",
          LOOKING_UP: "looking up", IDLE: "idle", EXITED: "exited"}
TRAPS = (
    "stack overflow", "memory access out of bounds", "misaligned atomic",
    "table access out of bounds", "indirect call to null",
    "indirect call of the wrong type", "integer overflow",
    "integer division by zero", "bad conversion to integer",
    "unreachable executed", "interrupted", "out of fuel",
    "atomic wait on memory that isn't shared")


cdef class Core:
    """Tasks, messages, authority and time of one kernel.

    Subclassed by `wasmos.kernel.Kernel`, which gives the hooks (`_exited`,
    `_lookup`, `_completed`, `_spawned_async`, `_caller`, `_room`) their
    meaning and everything else its public form.
    """

    cdef Kern k
    cdef object __weakref__
    cdef readonly Engine engine
    cdef Module shim
    cdef void *linker
    cdef dict layouts        # message type → Layout
    cdef dict handlers       # service task id → {message type → Handler}
    cdef dict modules        # task id → Module, kept while the task lives
    cdef dict caps           # capability's id → where its Cap is
    cdef dict lending        # Python client → what its call lends
    cdef unsigned long thread
    cdef int forks           # where it was made
    cdef size_t stack_low    # where that thread's stack ends
    cdef bint stepping
    cdef object pending_exception

    def __cinit__(self, Engine engine not None, *, uint64_t seed=0,
                  int64_t handler_ns=100_000_000, uint32_t ring=4096,
                  **options):
        cdef Kern *k = &self.k
        memset(k, 0, sizeof(Kern))
        self.engine = engine
        self.linker = NULL
        self.layouts = {}
        self.handlers = {}
        self.modules = {}
        self.caps = {}
        self.lending = {}
        self.thread = PyThread_get_thread_ident()
        self.forks = forks
        self.stack_low = <size_t>stack_low()
        if ring == 0 or ring & (ring - 1):
            raise ValueError(f"the number of events kept is a power of two, not {ring}")
        k.mask = MIN_TABLE - 1
        k.next_id = FIRST_ID
        k.rng = seed
        k.deterministic = engine.deterministic
        k.handler_ns = handler_ns
        if not k.deterministic:
            k.handler_ticks = handler_ns // engine.tick_ns + 1
        k.ring_mask = ring - 1
        k.table = <Task **>calloc(MIN_TABLE, sizeof(Task *))
        k.ring = <Event *>calloc(ring, sizeof(Event))
        k.record_mask = RECORDS - 1
        k.records = <Record *>calloc(RECORDS, sizeof(Record))
        if k.table is NULL or k.ring is NULL or k.records is NULL:
            raise MemoryError
        if not k.deterministic:
            k.now_ns = monotonic_ns()
        self.shim = Module.compile(engine, wat2wasm(SHIM))
        self._link()
        engine.start_ticker()
        k.ticker = engine.ticker

    cdef void _link(self) except *:
        cdef Kern *k = &self.k
        self.linker = api.linker_new(self.engine.ptr)
        define_host(self.linker, k, b"call", 2, 1, host_call, NULL)
        define_host(self.linker, k, b"recv", 2, 1, host_recv, NULL)
        define_host(self.linker, k, b"lookup", 1, 1, host_lookup, NULL)
        define_host(self.linker, k, b"reply", 2, 0, host_reply, NULL)
        define_host(self.linker, k, b"program_read", 3, 1, host_program_read, NULL)
        define_host(self.linker, k, b"program_write", 3, 1, host_program_write, NULL)
        define_host(self.linker, k, b"program_lookup", 1, 1, host_program_lookup, NULL)
        define_host(self.linker, k, b"program_exit", 1, 0, host_program_exit, NULL)
        if k.deterministic:
            define_host(self.linker, k, b"result", 0, 1, NULL, host_wait)
        else:
            define_host(self.linker, k, b"result", 0, 1, host_result, NULL)

    def __dealloc__(self):
        cdef Kern *k = &self.k
        cdef uint32_t i
        if k.table is not NULL:
            for i in range(k.mask + 1):
                if k.table[i] is not NULL:
                    drop_caller(k.table[i])
                    let_go(k, k.table[i])
                    task_free(k, k.table[i])
        self._take_spent()
        while k.newest is not NULL:
            leave(k, k.newest)
        self._free_caps()
        if self.linker is not NULL:
            api.linker_delete(self.linker)
        free(k.table)
        free(k.ring)
        free(k.records)
        free(k.sizes)
        free(k.kernel_only)
        free(k.native_ops)
        free(k.lent_fields)
        memset(&k.entropy, 0, sizeof(Entropy))

    # --- hooks, given their meaning by the subclass ---

    def _exited(self, int id, str cause, object code, str message, list frames,
                int64_t cpu_ns, list results, uint64_t memory_bytes):
        """Task `id` is gone. `results` as of `results_of`."""

    def _lookup(self, int id, str name, bint quietly):
        """The id of service `name`, an error code, or None: not yet. `quietly`:
        that it isn't allowed is no denial."""

    def _completed(self, int id, int result):
        """The call of client `id` is over."""

    def _mail(self, int id):
        """Client `id` has a one-way message waiting."""

    def _spawned_async(self, int service, int client, uint64_t serial,
                       Handler handler, object coroutine):
        """An `async def` method began; it ends in `answer`."""

    def _caller(self, int id, int cap):
        """How services see task `id` when it calls by capability `cap`, or
        by none if that is 0."""

    def _spent(self, list ids):
        """These capabilities were used up."""

    def _recorded(self, list rows, uint64_t lost):
        """What an audit wants to know; `lost` rows had no room."""

    def _records_later(self):
        """`take_records` is to be called, some time soon."""

    def _asked(self, int id, int dst):
        """Task `id` is about to be denied a message to `dst`: False if it
        shall be, True to look again, None: `answer_asked` will tell."""

    def _aborted(self, int service, int client, uint64_t serial):
        """The call of `client` was taken back from a Python service."""

    def _refused(self, int service, int client, Handler handler,
                 object error):
        """A Python service answered "not allowed"."""

    def _failed(self, int service, int client, Handler handler,
                object error):
        """A service's method raised something that is no answer."""

    def _room(self):
        """Some mailbox that was full has room."""

    # --- guards ---

    cdef int _enter(self) except -1:
        if PyThread_get_thread_ident() != self.thread:
            raise UsageError("this kernel belongs to another thread; "
                             "give each thread a kernel of its own")
        if self.forks != forks:  # nobody preempts here, and both had the same randomness ahead
            raise UsageError("this kernel was there before the fork; make another one after it")
        return 0

    cdef Task *_task(self, int32_t id) except NULL:
        self._enter()
        cdef Task *task = find(&self.k, id)
        if task is NULL:
            raise LookupError(f"there is no task {id}")
        return task

    def check_thread(self):
        """Raises UsageError in any thread but the kernel's own."""
        self._enter()

    cdef int _check_stack(self) except -1:
        """Passive guests called from Python run on the thread's own stack, and
        the engine takes it that there is as much as it was told."""
        cdef char here
        cdef size_t left = <size_t>&here - self.stack_low
        if left < self.engine.stack_bytes + HOST_STACK_BYTES:
            raise UsageError(
                f"this thread's stack has {left >> 10} KiB left, and a guest may use "
                f"{self.engine.stack_bytes >> 10}: make it larger with "
                "threading.stack_size(), or give the kernel a smaller stack_bytes")
        return 0

    # --- set-up ---

    def define_messages(self, classes, kernel_only):
        """Tell the kernel the size and the layout of each message class."""
        self._enter()
        cdef uint32_t types = max([cls.TYPE for cls in classes], default=0) + 1
        types = max(types, self.k.types)
        cdef uint16_t *sizes = <uint16_t *>calloc(types, sizeof(uint16_t))
        cdef uint8_t *reserved = <uint8_t *>calloc(types, 1)
        cdef uint8_t *natives = <uint8_t *>calloc(types, 1)
        cdef LentField *lent = <LentField *>calloc(types, sizeof(LentField))
        if sizes is NULL or reserved is NULL or natives is NULL or lent is NULL:
            free(sizes)
            free(reserved)
            free(natives)
            free(lent)
            raise MemoryError
        if self.k.types:
            memcpy(sizes, self.k.sizes, self.k.types * sizeof(uint16_t))
            memcpy(reserved, self.k.kernel_only, self.k.types)
            memcpy(natives, self.k.native_ops, self.k.types)
            memcpy(lent, self.k.lent_fields, self.k.types * sizeof(LentField))
        free(self.k.sizes)
        free(self.k.kernel_only)
        free(self.k.native_ops)
        free(self.k.lent_fields)
        self.k.sizes = sizes
        self.k.kernel_only = reserved
        self.k.native_ops = natives
        self.k.lent_fields = lent
        self.k.types = types
        for cls in classes:
            layout = Layout(cls)
            self.layouts[layout.type] = layout
            sizes[layout.type] = <uint16_t>layout.size
            if layout.lent >= 0:
                lent[layout.type].offset = <uint16_t>layout.fields[layout.lent].offset
                lent[layout.type].to_write = (
                    layout.fields[layout.lent].kind == FIELD_LENT_OUT)
        for type in kernel_only:
            reserved[type] = True

    def layout(self, int type):
        """The Layout of a message type, or None."""
        return self.layouts.get(type)

    def add_service(self, dict handlers, uint32_t mail_limit, int32_t id=0):
        """A task that is a Python service; `handlers` by message type. `id`
        asks for a reserved id, which must be free."""
        self._enter()
        if id and (not 0 < id < FIRST_ID or self.k.table[id] is not NULL):
            raise UsageError(f"the task id {id} can't be had")
        cdef Task *task = task_new(&self.k, SERVICE, 0, mail_limit, id)
        self.handlers[task.id] = handlers
        task.handlers = <void *>handlers
        emit(&self.k, EV_SPAWN, task.id, 0, 0, SERVICE)
        return self._with_buffer(task)

    def answer_natively(self, int32_t id, dict operations):
        """The core itself answers these messages of the Python service `id`:
        {type: name of one of NATIVE_OPS}, unless the capability has a badge."""
        cdef Task *task = self._task(id)
        for type, name in operations.items():
            if not 0 < type < self.k.types:
                raise UsageError(f"message {type} is not defined")
            self.k.native_ops[type] = NATIVE_OPS[name]
            task.natives |= 1 << <int>NATIVE_OPS[name]

    def add_client(self, uint32_t mail_limit):
        """A task that is a Python client."""
        self._enter()
        cdef Task *task = task_new(&self.k, HOST, 0, mail_limit, 0)
        emit(&self.k, EV_SPAWN, task.id, 0, 0, HOST)
        return self._with_buffer(task)

    cdef object _with_buffer(self, Task *task):
        task.buffer = <uint8_t *>calloc(1, MESSAGE_BYTES)
        if task.buffer is NULL:
            task_free(&self.k, task)
            raise MemoryError
        return task.id

    def _spawn(self, Module module not None, *, bint passive, bint direct,
               bint has_result, uint8_t priority, int64_t memory_bytes,
               int64_t table_elements, uint32_t mail_limit, int64_t cpu_ns,
               Adapter adapter=None, tuple invoke=None):
        """A task from a module whose imports and exports were checked. `invoke`: the name, the
        arguments and the number of results of the function to be called (see `invocation`)."""
        self._enter()
        if module.engine is not self.engine:
            raise UsageError("the module was compiled for another kernel")
        if direct:
            self._check_stack()
        if priority >= PRIORITIES:
            raise ValueError(f"priority is below {PRIORITIES}")
        cdef Kern *k = &self.k
        cdef Task *task = task_new(k, PASSIVE if passive else WASM, priority,
                                   mail_limit, 0)
        if invoke is not None:
            try:
                task.invoked = invocation(invoke)
            except BaseException:
                task_free(k, task)
                raise
        self.modules[task.id] = module, adapter
        task.module = module.ptr
        if adapter is not None:
            task.adapter = adapter.module.ptr
            task.dialect = adapter.dialect
        task.direct = direct
        task.has_result = has_result
        task.cpu_limit_ns = cpu_ns
        task.store = api.store_new(self.engine.ptr, NULL, NULL)
        census.stores += 1
        task.context = api.store_context(task.store)
        # Before any guest code can run: the start function is one too.
        api.store_limiter(task.store, memory_bytes, table_elements,
                          2 if adapter is None else 3, 4, 1 if adapter is None else 2)
        emit(k, EV_SPAWN, task.id, 0, 0, task.kind)
        if direct:
            self._start_direct(task)
        else:
            self._start_fibre(task)
        return task.id

    cdef void _start_fibre(self, Task *task) noexcept:
        cdef Kern *k = &self.k
        if k.deterministic:
            task.fuel_last = FUEL
            api.set_fuel(task.context, FUEL)
            api.fuel_yield(task.context, FUEL_SLICE)
        else:
            api.set_epoch_deadline(task.context, 1)
            api.epoch_yield(task.context, 1)
        task.linker = api.linker_new(self.engine.ptr)
        task.phase = LINKING
        begin(k, task, api.linker_instantiate_async(
            self.linker, task.context, self.shim.ptr, &task.shim,
            &task.trap, &task.error))

    cdef void _start_direct(self, Task *task) noexcept:
        """A passive service without imports: no fibre, no shim; its deadline
        traps instead of yielding."""
        cdef Kern *k = &self.k
        cdef wasmtime_extern_t item
        cdef wasmtime_val_raw_t value
        value.v128[0] = value.v128[1] = 0
        task.linker = api.linker_new(self.engine.ptr)
        allow_handler(k, task)
        ticker_start(k.ticker)
        with nogil:
            task.error = api.linker_instantiate(
                task.linker, task.context, task.module, &task.instance,
                &task.trap)
            if not failed(task) and exported(
                    task, b"_initialize", 11, EXTERN_FUNC, &item):
                task.error = api.call_unchecked(
                    task.context, &item.of.func, &value, 1, &task.trap)
            if not failed(task) and exported(
                    task, b"ipc_buffer", 10, EXTERN_FUNC, &item):
                task.error = api.call_unchecked(
                    task.context, &item.of.func, &value, 1, &task.trap)
        if not self.stepping:
            ticker_pause(k.ticker)
        if failed(task):
            die(k, task, EXIT_REFUSED if task.trap is NULL else EXIT_TRAPPED)
            return
        if exported(task, b"memory", 6, EXTERN_MEMORY, &item):
            adopt_memory(task, &task.memory, &item.of.memory)
        task.inbox = <uint32_t>value.i32
        if guest_message(task, task.inbox) is NULL or not exported(
                task, b"ipc_handle", 10, EXTERN_FUNC, &item):
            die(k, task, EXIT_REFUSED)
            return
        task.entry = item.of.func
        task.phase = WORKING

    # --- authority ---

    def set_service(self, int32_t id, int32_t service):
        """Make task `id` the one behind `service`, a number."""
        cdef Task *task = self._task(id)
        if not set_provides(task, service):
            raise MemoryError
        forget_open(&self.k)    # who may send to it can be denied that one
        emit(&self.k, EV_REGISTER, id, 0, service, 0)

    def add_cap(self, int32_t id, int32_t holder, int32_t service, *,
                bint deny, messages, dict tests, uses, expires_ns,
                int32_t parent, bint has_badge=False):
        """A capability from the compiled form of a rule (see
        `cap_make`), held by task `holder`, or by nobody yet if that is 0."""
        cdef Task *task = NULL if holder == 0 else self._task(holder)
        cdef Cap *above = NULL if parent == 0 else self._cap(parent)
        cdef Cap *cap
        cdef int64_t most = UNLIMITED if uses is None else uses
        cdef int64_t until = FOREVER if expires_ns is None else expires_ns
        if id in self.caps:
            raise InternalError(f"capability {id} exists")
        cap = cap_make(id, service, messages, tests)
        cap.deny = deny
        cap.has_badge = has_badge
        cap.uses = most
        cap.expires_ns = until
        cap.is_limited = uses is not None or expires_ns is not None or (
            above is not NULL and above.is_limited)
        if task is not NULL and not cap_attach(task, cap):
            cap_free(cap)
            raise MemoryError
        if above is not NULL:
            above.refs += 1
            cap.parent = above
        enter(&self.k, cap)
        self.caps[id] = <size_t>cap
        if task is not NULL:
            emit(&self.k, EV_GRANT, holder, 0, service, not deny)
            if deny:
                self._reconsider(task, cap)

    def hold_cap(self, int32_t id, int32_t holder):
        """Give a capability that nobody holds to a task."""
        cdef Cap *cap = self._cap(id)
        if cap.holder is not NULL:
            raise InternalError(f"capability {id} is held")
        if not cap_attach(self._task(holder), cap):
            raise MemoryError
        emit(&self.k, EV_GRANT, holder, 0, cap.service, 1)

    def spend_cap(self, int32_t id):
        """A capability is used up: its holder has it no longer."""
        cdef Cap *cap = self._cap(id)
        if cap.holder is not NULL:
            emit(&self.k, EV_GRANT, cap.holder.id, 0, cap.service, 0)
            cap_detach(cap)

    def remove_cap(self, int32_t id, int32_t owner, bint abort):
        """Take a capability back. With `abort` the call that `owner`, whose it
        is or was, has under way by it ends, if nothing else admits it."""
        cdef Cap *cap = self._cap(id)
        cdef Task *holder = find(&self.k, owner)
        cdef bint under_way = holder is not NULL and holder.cap is cap
        if cap.holder is not NULL:
            emit(&self.k, EV_GRANT, owner, 0, cap.service, 0)
        del self.caps[id]
        leave(&self.k, cap)
        if abort and under_way:
            self._reconsider(holder, NULL)

    cdef int _reconsider(self, Task *task, Cap *rule) except -1:
        cdef int32_t id = task.id, service = task.peer
        cdef uint64_t serial = task.calls
        cdef bint answering = task.state == AWAITING
        reconsider(&self.k, task, rule)
        if answering and task.state != AWAITING:
            self._aborted(service, id, serial)
        return 0

    def except_cap(self, int32_t id, int32_t owner, int32_t denial, int32_t service,
                   messages, dict tests):
        """From now on a capability, which is or was `owner`'s, doesn't admit what a rule,
        in its compiled form, speaks of: the one that denies it to somebody it came from."""
        cdef Cap *cap = self._cap(id)
        cdef Task *holder = find(&self.k, owner)
        cdef Cap *rule = cap_make(denial, service, messages, tests)
        rule.next = cap.excepts
        cap.excepts = rule
        if cap.holder is not NULL:
            changed(cap.holder, cap.service)
        if holder is not NULL and holder.cap is cap:    # if only by its last use
            self._reconsider(holder, rule)

    def lift_exception(self, int32_t id, int32_t denial):
        """End what `except_cap` began."""
        cdef Cap *cap = self._cap(id)
        cdef Cap **link = &cap.excepts
        cdef Cap *rule
        while link[0] is not NULL:
            rule = link[0]
            if rule.id == denial:
                link[0] = rule.next
                cap_free(rule)
            else:
                link = &rule.next
        if cap.holder is not NULL:
            changed(cap.holder, cap.service)

    def set_demands(self, int32_t id, messages, dict tests):
        """Change what a capability is for: its rule's compiled form is another."""
        cdef Cap *cap = self._cap(id)
        cdef Cap *made = cap_make(0, cap.service, messages, tests)
        cap.clauses, made.clauses = made.clauses, cap.clauses
        cap.clause_count, made.clause_count = made.clause_count, cap.clause_count
        if cap.holder is not NULL:
            changed(cap.holder, cap.service)
        cap_free(made)

    def use_cap(self, int32_t id):
        """One use of a capability; False if it can't be used."""
        cdef Cap *cap = self._cap(id)
        if not usable(&self.k, cap):
            return False
        if cap.is_limited:
            use(&self.k, cap)
        return True

    def has_call(self, int32_t id, int32_t owner):
        """Whether the call that `owner` has under way was admitted by it."""
        cdef Cap *cap = self._cap(id)
        cdef Task *task = find(&self.k, owner)
        return task is not NULL and task.cap is cap and (
            task.state == SENDING or task.state == AWAITING)

    def uses_left(self, int32_t id):
        """How often a capability can still be used; None: without end."""
        cdef Cap *cap = self._cap(id)
        return None if cap.uses == UNLIMITED else cap.uses

    def admitting(self, int32_t id):
        """The capabilities that admit the call which task `id` has under way."""
        cdef list found = []    # first: a new object may be what some finalizer waited for
        cdef Task *task = self._task(id)
        cdef Task *dst
        cdef Hold *hold
        cdef uint32_t i
        dst = find(&self.k, task.peer)
        if dst is NULL or task.state != AWAITING or not task.is_kept:
            return found
        for i in range(dst.provides_count + 1):
            hold = hold_of(task, EVERY if i == 0 else dst.provides[i - 1])
            if hold is not NULL:
                self._add_admitting(found, hold, task, dst)
        if task.cap is not NULL and task.cap.id not in found:
            found.append(task.cap.id)   # its last use
        return sorted(found)

    def message_under_way(self, int32_t id):
        """The message that task `id` awaits the answer to; b"" if it awaits none."""
        cdef Task *task = find(&self.k, id)
        if task is NULL or task.state != AWAITING or not task.is_kept:
            return b""
        return PyBytes_FromStringAndSize(<char *>task.outbox, task.outbox_size)

    def capability_under_way(self, int32_t id):
        """The capability that admitted it; 0 if there is none."""
        cdef Task *task = find(&self.k, id)
        return 0 if task is NULL or task.cap is NULL else task.cap.id

    cdef void _add_admitting(self, list found, Hold *hold, Task *task,
                             Task *dst) except *:
        cdef Cap *cap = hold.head
        while cap is not NULL:
            if not cap.deny and usable(&self.k, cap) and covers(
                    cap, dst, task.outbox, task.outbox_size):
                found.append(cap.id)
            cap = cap.next

    cdef Cap *_cap(self, int32_t id) except NULL:
        self._enter()
        where = self.caps.get(id)
        if where is None:
            raise LookupError(f"there is no capability {id}")
        return <Cap *><size_t>where

    cdef list _take_spent(self):
        cdef list ids = []
        cdef Cap *cap = self.k.spent
        while cap is not NULL:
            self.k.spent = cap.spent
            ids.append(cap.id)
            cap_release(&self.k, cap)
            cap = self.k.spent
        return ids

    cdef void _free_caps(self) noexcept:
        cdef Cap *cap = self.k.unreferenced
        while cap is not NULL:
            self.k.unreferenced = cap.next
            cap_free(cap)
            cap = self.k.unreferenced

    def holds(self, int32_t id, int32_t service):
        """Whether task `id` holds a capability for any message to `service`."""
        return bool(may_look_up(self._task(id), service))

    def rights(self, int32_t id):
        """A number that is another one whenever what task `id` may send has changed, but for
        what ends by itself."""
        return self._task(id).rights

    def would_admit(self, int32_t id, int32_t dst_id, bytes message not None):
        """Whether task `id` may send `message` to `dst_id`, as often as it likes: 2 as long as
        its `rights` stay, 1 for now, 0 no. A capability with a number of uses is for sending
        and not for this, unless it is what the call under way stands on."""
        cdef Kern *k = &self.k
        cdef Task *task = self._task(id)
        cdef Task *dst = self._task(dst_id)
        cdef const uint8_t *data = <const uint8_t *><const char *>message
        cdef Verdict verdict
        cdef Hold *hold
        cdef Cap *cap
        cdef uint32_t i
        if len(message) < HEADER_BYTES:
            raise ValueError("a message has a header")
        cdef int32_t type = load_i32(data)
        cdef uint32_t size = message_size(k, type)
        if <uint32_t>len(message) < size:
            raise ValueError(f"the message has {size} bytes")
        write_message(k.copy, data, type, id, size)
        authorize(k, task, dst, k.copy, type, size, &verdict)
        if verdict.cap is not NULL and not verdict.cap.is_limited:
            return 2
        if verdict.cause == WHY_DENIED:
            return 0
        if task.state == AWAITING and task.peer == dst_id and task.cap is not NULL and covers(
                task.cap, dst, k.copy, size):
            return 1
        for i in range(dst.provides_count + 1):
            hold = hold_of(task, EVERY if i == 0 else dst.provides[i - 1])
            cap = NULL if hold is NULL else hold.head
            while cap is not NULL:
                if not cap.deny and not counts_uses(cap) and usable(k, cap) and covers(
                        cap, dst, k.copy, size):
                    return 1
                cap = cap.next
        return 0

    def record_denial(self, int32_t id, int32_t service):
        """A lookup of `service`, a number, was denied."""
        emit(&self.k, EV_DENIAL, id, 0, service, ERR_NOT_ALLOWED)

    def time_check(self, int32_t id, int32_t dst_id, bytes message not None,
                   uint64_t count):
        """Check `count` times whether task `id` may send `message` to `dst_id`,
        and nothing else. For benchmarks: nanoseconds for each."""
        cdef Kern *k = &self.k
        cdef Task *task = self._task(id)
        cdef Task *dst = self._task(dst_id)
        cdef const uint8_t *data = <const uint8_t *><const char *>message
        if len(message) < HEADER_BYTES:
            raise ValueError("a message has a header")
        cdef int32_t type = load_i32(data)
        cdef uint32_t size = message_size(k, type)
        cdef Verdict verdict
        cdef const uint8_t *at
        cdef int64_t began = monotonic_ns()
        if <uint32_t>len(message) < size:
            raise ValueError(f"the message has {size} bytes")
        with nogil:
            for _ in range(count):
                at = data
                verdict.cap = quick_check(k, task, dst, type, size, &at)
                if verdict.cap is NULL:
                    write_message(k.copy, data, type, id, size)
                    authorize(k, task, dst, k.copy, type, size, &verdict)
        return (monotonic_ns() - began) / count

    def set_asks(self, int32_t id, bint on):
        """Whether `_asked` hears of what task `id` is to be denied."""
        self._task(id).asks = on

    def asked(self, int32_t id):
        """(service or -1, type, why, capability, message) of what task `id`
        is about to be denied."""
        cdef Task *task = self._task(id)
        cdef Task *dst = find(&self.k, task.peer)
        cdef Verdict verdict
        if task.state != ASKING or dst is NULL:
            raise UsageError(f"task {id} is not about to be denied anything")
        authorize(&self.k, task, dst, task.outbox,
                  load_i32(task.outbox), task.outbox_size, &verdict)
        return (verdict.service, load_i32(task.outbox), WHY_NAMES[verdict.cause],
                verdict.culprit, PyBytes_FromStringAndSize(
                    <char *>task.outbox, task.outbox_size))

    def answer_asked(self, int32_t id):
        """End the wait of task `id` for an answer to `_asked`: it is admitted
        if it holds what it needs by now, and denied otherwise."""
        cdef Kern *k = &self.k
        cdef Task *task = self._task(id)
        cdef Task *dst
        cdef int32_t result
        if task.state != ASKING:
            return
        unlink(task)
        dst = find(k, task.peer)
        if dst is NULL:
            wake(k, task, ERR_ABORTED)
            return
        self._check_stack()     # a passive service may run on top of it
        ticker_start(k.ticker)
        charge(k, NULL)         # the time that somebody thought is nobody's
        result = ask_again(k, task, dst)
        if not self.stepping:
            ticker_pause(k.ticker)
        if result != PENDING:
            wake(k, task, result)

    def record_calls(self, bint on):
        """Record every message that is admitted, and not only denials."""
        self.k.record_calls = on

    def take_records(self):
        """Hand over what was recorded to `_recorded`."""
        cdef Kern *k = &self.k
        cdef Record *row
        cdef list rows = []
        cdef uint64_t lost
        self._enter()
        lost, k.records_lost = k.records_lost, 0
        while k.record_read < k.record_next:
            row = &k.records[k.record_read & k.record_mask]
            k.record_read += 1  # first: a new object may be what some finalizer waited for
            rows.append((
                row.time_ns, RECORD_NAMES[row.kind], WHY_NAMES[row.cause], row.task,
                row.peer, row.service, row.type, row.cap, row.count,
                PyBytes_FromStringAndSize(<char *>row.data, row.size)))
        k.record_urgent = k.record_timed = False
        if rows or lost:
            self._recorded(rows, lost)

    # --- running ---

    def step(self, int64_t slice_ns):
        """Run what is ready for about `slice_ns`. True if more is ready.

        A guest that calls Python services back to back is resumed without
        giving up the GIL in between: that would cost more than the call. The
        services' methods yield it as all Python code does, and a guest that
        runs for a tick goes on without it."""
        cdef Kern *k = &self.k
        cdef int64_t end
        cdef bint bouncing = False
        self._enter()
        if self.stepping:
            raise UsageError("the kernel is already running: a service's "
                             "method can't wait for it; make it `async def`")
        self.stepping = True
        ticker_start(k.ticker)
        try:
            charge(k, NULL)
            end = k.now_ns + slice_ns
            while True:
                if bouncing:
                    run_slice(k, end, 1)
                else:
                    with nogil:
                        run_slice(k, end, UINT32_MAX)
                bouncing = k.attention.head is not NULL
                self._serve()
                if k.now_ns >= end or (k.ready_levels == 0
                                       and k.attention.head is NULL):
                    break
        finally:
            self.stepping = False
            ticker_pause(k.ticker)
        if self.pending_exception is not None:
            error, self.pending_exception = self.pending_exception, None
            raise error
        return self._more()

    cdef bint _more(self) noexcept:
        cdef int level
        for level in range(PRIORITIES):
            if self.k.ready[level].head is not NULL:
                return True
        return (self.k.attention.head is not NULL or self.k.room_made
                or self.k.dead.head is not NULL)

    cdef int _serve(self) except -1:
        """Do what only Python can: bury the dead, answer for the services."""
        cdef Kern *k = &self.k
        cdef Task *task
        if k.record_urgent or records_wait(k):
            self.take_records()     # while those they are about are there
        elif k.record_next != k.record_read and not k.record_timed:
            k.record_timed = True
            self._records_later()
        while k.dead.head is not NULL:
            self._bury(k.dead.head)
        # Those that come in meanwhile are for the next round, so that guests
        # and services take turns.
        cdef uint32_t waiting = 0
        task = k.attention.head
        while task is not NULL:
            waiting += 1
            task = task.next
        while waiting and k.attention.head is not NULL:
            waiting -= 1
            task = k.attention.head
            unlink(task)
            self._attend(task)
        if k.room_made:
            k.room_made = False
            self._room()
        if k.spent is not NULL:
            self._spent(self._take_spent())
        if k.unreferenced is not NULL:
            self._free_caps()
        return 0

    cdef int _attend(self, Task *task) except -1:
        cdef object answer
        cdef int32_t id = task.id
        if task.state == LOOKING_UP:
            try:
                answer = self._lookup(id, (<bytes>task.name).decode(
                    "utf-8", "surrogateescape"), task.quietly)
            except BaseException:
                # Interrupted, not answered: it stays where it was, if it is still there.
                task = find(&self.k, id)
                if task is not NULL and task.state == LOOKING_UP and task.queue is NULL:
                    push(&self.k.attention, task)
                raise
            if answer is not None and not self.is_over(id):
                self.answer_lookup(id, answer)
        elif task.state == SENDING:
            self._dispatch(task)
        elif task.state == ASKING:
            self._ask(task)
        elif task.kind == SERVICE:
            self._read_mail(task)
        elif task.kind == HOST:
            if task.wake:
                task.wake = False
                if task.result != OK:
                    answer = self.lending.pop(id, None)     # as in `send`
                self._completed(id, task.result)
                task = find(&self.k, id)
            if task is not NULL and task.state == IDLE and (
                    task.mail_head is not NULL):
                self._mail(id)
        return 0

    cdef int _ask(self, Task *task) except -1:
        cdef int32_t id = task.id
        cdef Task *dst = find(&self.k, task.peer)
        if dst is not NULL:
            push(&dst.waiters, task)    # where the end of `dst` finds it
            try:
                answer = self._asked(id, dst.id)
            except BaseException:
                # Interrupted, not answered. It is denied: nobody asks twice.
                if not self.is_over(id):
                    self.answer_asked(id)
                raise
            if answer is None:
                return 0
        if not self.is_over(id):
            self.answer_asked(id)
        return 0

    cdef int _dispatch(self, Task *task) except -1:
        """Let a Python service handle the call of `task`."""
        cdef Task *service = find(&self.k, task.peer)
        cdef uint8_t message[MESSAGE_BYTES]
        cdef int32_t id = task.id
        cdef int32_t service_id = service.id
        cdef uint64_t serial
        # A copy: any Python code may end the task that the message is of.
        cdef uint32_t size = task.outbox_size
        memcpy(message, task.outbox, size)
        cdef int32_t type = load_i32(message)
        cdef Handler handler
        handler = (<dict>service.handlers).get(type)
        account_call(task, service, size)
        serial = task.calls
        task.state = AWAITING
        push(&service.waiters, task)
        if handler is None or handler.reply is None:
            self._answer_error(service_id, id, serial, ERR_NOT_SUPPORTED)
            return 0
        try:
            lent = self._lent(service_id, id)
            result = handler.invoke(self._caller_of(id), message, lent)
        except BaseException as error:
            self._raised(service_id, id, serial, handler, error)
            return 0
        # A plain method that has to wait after all returns a coroutine: those
        # that seldom do are spared the making of one.
        if handler.is_async or PyCoro_CheckExact(result):
            self._spawned_async(service_id, id, serial, handler, result)
        else:
            self._answer(service_id, id, serial, handler, result)
        return 0

    cdef object _caller_of(self, int32_t id):
        """How services see task `id` in the call it has under way."""
        cdef Task *task = find(&self.k, id)
        cdef Cap *cap = NULL if task is NULL else task.cap
        cdef int32_t cap_id
        if cap is not NULL and cap.caller is not NULL:
            return <object>cap.caller
        cap_id = 0 if cap is NULL else cap.id
        caller = self._caller(id, cap_id)
        task = find(&self.k, id)    # Python ran: look again
        if task is not NULL and task.cap is cap and cap is not NULL and cap.caller is NULL:
            Py_INCREF(caller)
            cap.caller = <void *>caller
        return caller

    cdef object _sender_of(self, Task *task, int32_t cap_id):
        """How services see the sender of a one-way message."""
        if cap_id == 0 and task.caller is not NULL:
            return <object>task.caller
        cdef int32_t id = task.id
        caller = self._caller(id, cap_id)
        task = find(&self.k, id)
        if cap_id == 0 and task is not NULL and task.caller is NULL:
            Py_INCREF(caller)
            task.caller = <void *>caller
        return caller

    cdef int _raised(self, int32_t service, int32_t client, uint64_t serial,
                     Handler handler, object error) except -1:
        """An answer if it is one; else the service's bug, which costs its
        client an error and nobody else anything."""
        cdef int32_t code = ERR_UNEXPECTED
        if isinstance(error, ServiceError) and -128 <= error.code < 0:
            code = error.code
            # A late one would be told with the fields of the client's next message.
            if code == ERR_NOT_ALLOWED and self._awaiting(
                    service, client, serial) is not NULL:
                self._refused(service, client, handler, error)
        elif isinstance(error, MalformedMessage):
            code = ERR_INVALID_ARG
        else:
            self._blame(service, client, handler, error)
        self._answer_error(service, client, serial, code)
        return 0

    cdef int _blame(self, int32_t service, int32_t client, Handler handler,
                    object error) except -1:
        """A method's own failure: told to the subclass; what is not for us
        to catch (KeyboardInterrupt, …) goes on when the kernel can stop."""
        if not isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._failed(service, client, handler, error)   # those are no bugs
        if not isinstance(error, Exception):
            self.pending_exception = error
        return 0

    cdef Task *_awaiting(self, int32_t service, int32_t client,
                         uint64_t serial) noexcept:
        """The client, if it still awaits the answer to that very call."""
        cdef Task *task = find(&self.k, client)
        if task is NULL or task.state != AWAITING or task.peer != service or (
                task.calls != serial):
            return NULL
        return task

    def answer(self, int32_t service, int32_t client, uint64_t serial,
               Handler handler not None, object result):
        """End the call `serial` of `client` with a service's result. Nothing
        happens if the client is gone or was answered."""
        self._enter()
        self._answer(service, client, serial, handler, result)

    cdef int _answer(self, int32_t service, int32_t client, uint64_t serial,
                     Handler handler, object result) except -1:
        cdef uint8_t message[MESSAGE_BYTES]
        cdef Task *task
        memset(message, 0, handler.reply.size)  # gaps between fields as well
        try:
            handler.reply.write(message, result)
        except BaseException as error:
            self._blame(service, client, handler, error)
            self._answer_error(service, client, serial, ERR_UNEXPECTED)
            return 0
        task = self._awaiting(service, client, serial)
        if task is not NULL:
            send_reply(&self.k, find(&self.k, service), task, message,
                       handler.reply.size)
        return 0

    def answer_error(self, int32_t service, int32_t client, uint64_t serial,
                     Handler handler not None, object error):
        """End the call `serial` of `client` with what a method raised."""
        self._raised(service, client, serial, handler, error)

    cdef Lent _lent(self, int32_t service, int32_t id):
        """What the call of task `id` lends to `service`, or None. Raises
        ServiceError if it hasn't got it."""
        cdef Task *client = find(&self.k, id)
        if client is NULL or not client.lends:
            return None
        cdef Lent lent = Lent.__new__(Lent)
        client = find(&self.k, id)      # a new object may be what some finalizer waited for
        if client is NULL:
            raise ServiceError(ERR_ABORTED, "it has ended")
        lent.core, lent.service = self, service
        lent.client, lent.serial = client.id, client.calls
        lent.size, lent.writable = client.lent_size, client.lends_to_write
        if client.kind == HOST:
            lent.buffer = self.lending.get(client.id)
            if lent.buffer is None or len(lent.buffer) != lent.size:
                raise ServiceError(ERR_INVALID_UADDR, "it lends nothing")
            return lent
        lent.base = lent_bytes(client, client.lent_address, lent.size)
        if lent.base is NULL:
            raise ServiceError(ERR_INVALID_UADDR, "it lends what it hasn't got")
        return lent

    cdef int _answer_error(self, int32_t service, int32_t client,
                           uint64_t serial, int32_t code) except -1:
        cdef uint8_t message[MESSAGE_BYTES]
        cdef Task *task = self._awaiting(service, client, serial)
        if task is not NULL:
            memset(message, 0, HEADER_BYTES)
            store_i32(message, code)
            send_reply(&self.k, find(&self.k, service), task, message,
                       HEADER_BYTES)
        return 0

    cdef int _read_mail(self, Task *service) except -1:
        """One-way messages to a Python service."""
        cdef uint8_t message[MESSAGE_BYTES]
        cdef int32_t id = service.id, type, cap
        cdef Handler handler
        cdef Task *sender
        while service is not NULL and take_note(&self.k, service, 0, message, &cap):
            type = load_i32(message)
            handler = (<dict>service.handlers).get(type)
            sender = find(&self.k, load_i32(message + 4))
            if handler is None or handler.reply is not None or sender is NULL:
                emit(&self.k, EV_LOST, load_i32(message + 4), id, type,
                     ERR_NOT_SUPPORTED)
            else:
                self._hear(id, sender, cap, handler, message)
            service = find(&self.k, id)
        return 0

    cdef int _hear(self, int32_t service, Task *sender, int32_t cap,
                   Handler handler, const uint8_t *message) except -1:
        """One one-way message, malformed ones dropped: nobody awaits a word."""
        cdef int32_t id = sender.id
        try:
            handler.invoke(self._sender_of(sender, cap), message, None)
        except MalformedMessage:
            emit(&self.k, EV_LOST, id, service, handler.request.type,
                 ERR_INVALID_ARG)
        except BaseException as error:
            self._blame(service, id, handler, error)
        return 0

    # --- what Python decides about tasks ---

    def answer_lookup(self, int32_t id, int32_t result):
        """End the lookup of task `id` with a task id or an error code."""
        cdef Task *task = self._task(id)
        if task.state != LOOKING_UP:
            raise InternalError(f"task {id} looks nothing up")
        emit(&self.k, EV_LOOKUP, id, result if result > 0 else 0, 0,
             result if result < 0 else 0)
        wake(&self.k, task, result)

    def _kill(self, int32_t id):
        """End task `id` now. Its peers are released, its memory is freed."""
        self._enter()
        cdef Task *task = self.k.table[<uint32_t>id & self.k.mask]
        if task is NULL or task.id != id:
            raise LookupError(f"there is no task {id}")
        if task.on_stack:
            raise InternalError(f"task {id} is running")
        if task.state != EXITED:
            die(&self.k, task, EXIT_KILLED)
        if task.queue is not NULL:  # else it is being buried, by which all sorts of things end
            self._bury(task)

    def is_over(self, int32_t id):
        """Whether task `id` is gone, or as good as gone."""
        return find(&self.k, id) is NULL

    cdef int _bury(self, Task *task) except -1:
        cdef Kern *k = &self.k
        cdef int32_t id = task.id
        cdef int64_t cpu_ns = task.cpu_ns
        cdef uint64_t memory_bytes = own_memory(task)
        unlink(task)
        while task.senders.head is not NULL:
            wake(k, task.senders.head, ERR_ABORTED)
        while task.waiters.head is not NULL:
            wake(k, task.waiters.head, ERR_ABORTED)
        if task.kind == SERVICE:
            self._release_callers(id)
        if task.wants_room:
            k.room_made = True
        code, message, frames = self._autopsy(task)
        results = results_of(task)
        cdef Cause cause = task.cause
        emit(k, EV_EXIT, id, 0, cause, code if cause == EXIT_RETURNED else 0)
        self.handlers.pop(id, None)
        self.lending.pop(id, None)
        drop_caller(task)
        let_go(k, task)
        task_free(k, task)
        self.modules.pop(id, None)
        self._exited(id, CAUSES[cause], code, message, frames, cpu_ns, results,
                     memory_bytes)
        self._free_caps()
        return 0

    cdef void _release_callers(self, int32_t id) noexcept:
        """Whoever still queues for the Python service `id`."""
        cdef Task *task = self.k.attention.head
        cdef Task *next
        while task is not NULL:
            next = task.next
            if task.state == SENDING and task.peer == id:
                wake(&self.k, task, ERR_ABORTED)
            task = next

    cdef tuple _autopsy(self, Task *task):
        """Exit code, message and backtrace of a task that is over."""
        cdef wasm_byte_vec_t vec
        cdef uint8_t code = 255
        cdef str message = ""
        cdef list frames = []
        if task.trap is not NULL:
            if api.trap_code(task.trap, &code):
                message = TRAPS[code] if code < len(TRAPS) else f"trap {code}"
                if code in (TRAP_INTERRUPT, TRAP_OUT_OF_FUEL):
                    task.cause = EXIT_CPU_LIMIT
            else:
                api.trap_message(task.trap, &vec)
                message = innermost_cause(take_message(&vec))
            frames = backtrace(task.trap, True)
        elif task.error is not NULL:
            api.error_message(task.error, &vec)
            message = take_message(&vec)
            frames = backtrace(task.error, False)
            if frames:
                message = innermost_cause(message)
                if task.cause == EXIT_REFUSED:  # it was there, and threw something
                    task.cause = EXIT_TRAPPED
        if task.cause == EXIT_RETURNED:
            return (task.value.of.i32 if task.has_result else 0), "", []
        return None, message, frames

    # --- messages from Python ---

    def send(self, int32_t client, int32_t dst, bytes message not None):
        """Begin a call of a Python client. Returns its result, or None if it
        must wait: then `_completed` tells."""
        cdef Task *task = self._idle_client(client)
        if len(message) > MESSAGE_BYTES or len(message) < HEADER_BYTES:
            raise ValueError("a message has 8 to 1,512 bytes")
        memset(task.buffer, 0, MESSAGE_BYTES)
        memcpy(task.buffer, <const char *>message, len(message))
        lent = self.lending.pop(client, None)   # whose end may be the client's: last
        return self._send(task, dst)

    cdef Task *_idle_client(self, int32_t client) except NULL:
        cdef Task *task = self._task(client)
        if task.kind != HOST or task.state != IDLE or task.wake:
            raise UsageError("this client already has a call under way")
        return task

    cdef object _send(self, Task *task, int32_t dst):
        cdef Kern *k = &self.k
        cdef int32_t result
        self._check_stack()     # a passive service may run on top of it
        unlink(task)            # it may be here with mail, which can wait
        ticker_start(k.ticker)
        result = ipc_call(k, task, dst, 0)
        if result != PENDING and result != OK:
            lent = self.lending.pop(task.id, None)  # as in `send`
        if result != PENDING and task.mail_head is not NULL:
            push(&k.attention, task)
        if not self.stepping:
            ticker_pause(k.ticker)
        if records_wait(k):
            self.take_records()
        return None if result == PENDING else result

    def exchange(self, int32_t client, int32_t dst, object message not None):
        """As `send`, with the message as an object of its class."""
        cdef Task *task = self._idle_client(client)
        cdef Layout layout = self.layouts.get(message.TYPE)
        if layout is None:
            raise UsageError(f"{type(message).__name__} is not defined in this kernel")
        cdef uint8_t raw[MESSAGE_BYTES]
        memset(raw, 0, MESSAGE_BYTES)
        layout.write(raw, message)
        cdef object lent = None
        if layout.lent >= 0:
            lent = view_of(getattr(message, layout.names[layout.lent]),
                           layout.fields[layout.lent].kind == FIELD_LENT_OUT)
        # Its attributes may have been properties, and have done anything.
        task = self._idle_client(client)
        memcpy(task.buffer, raw, MESSAGE_BYTES)
        before = self.lending.pop(client, None)     # as in `send`
        if lent is not None:
            self.lending[client] = lent
        return self._send(task, dst)

    def answer_to(self, int32_t client):
        """The answer to a client's call: a message, or an error code."""
        cdef Task *task = self._task(client)
        cdef int32_t type = load_i32(task.buffer)
        cdef Layout layout
        lent = self.lending.pop(client, None)   # as in `send`
        if type < 0:
            return type
        layout = self.layouts.get(type)
        if layout is None:
            return ERR_UNEXPECTED
        try:
            return layout.decode(PyBytes_FromStringAndSize(<char *>task.buffer, layout.size))
        except MalformedMessage:
            return ERR_UNEXPECTED

    def reply_of(self, int32_t client):
        """The message in the client's buffer: after a call, the answer."""
        cdef Task *task = self._task(client)
        if task.buffer is NULL:
            raise UsageError(f"task {client} is not a client")
        return PyBytes_FromStringAndSize(<char *>task.buffer, MESSAGE_BYTES)

    def take_mail(self, int32_t client):
        """The oldest one-way message that waits for a client, or None."""
        cdef uint8_t message[MESSAGE_BYTES]
        memset(message, 0, MESSAGE_BYTES)
        if not take_note(&self.k, self._task(client), 0, message, NULL):
            return None
        return PyBytes_FromStringAndSize(<char *>message, MESSAGE_BYTES)

    def _notify(self, int32_t src, int32_t dst, bytes message not None):
        """Send a one-way message from a Python task. Returns 0 or an error
        code: -19 if the receiver's mailbox is full, and then `_room` will
        tell when it no longer is."""
        cdef Task *task = self._task(src)
        cdef Task *to = find(&self.k, dst)
        cdef int32_t error
        if to is NULL:
            return ERR_INVALID_TASK
        if not HEADER_BYTES <= len(message) <= MESSAGE_BYTES:
            raise ValueError("a message has 8 to 1,512 bytes")
        cdef uint8_t padded[MESSAGE_BYTES]
        memset(padded, 0, MESSAGE_BYTES)
        memcpy(padded, <const char *>message, len(message))
        error = send_oneway(&self.k, task, to, padded,
                            message_size(&self.k, load_i32(padded)), True)
        if error == ERR_WOULD_BLOCK:
            to.wants_room = True
        return error

    # --- looking ---

    def read_lent(self, int32_t id, int32_t service, uint32_t offset, uint32_t most):
        """At most `most` bytes of what task `id` lends to `service`; None if it
        lends it nothing."""
        cdef Lent lent = self._lent_to(id, service)
        return None if lent is None else lent.read(most, offset)

    def write_lent(self, int32_t id, int32_t service, uint32_t offset, data):
        """How much of it was written; None if it lends `service` nothing."""
        cdef Lent lent = self._lent_to(id, service)
        return None if lent is None else lent.write(data, offset)

    cdef Lent _lent_to(self, int32_t id, int32_t service):
        cdef Task *task = find(&self.k, id)
        if task is NULL or task.state != AWAITING or task.peer != service:
            return None
        return self._lent(service, id)

    @property
    def now_ns(self):
        """The kernel's clock in nanoseconds: monotonic, or virtual."""
        if self.k.deterministic:
            return self.k.now_ns
        return monotonic_ns()

    def advance(self, int64_t until_ns):
        """Move the virtual clock forward."""
        if not self.k.deterministic:
            raise UsageError("only a virtual clock can be moved")
        self.k.now_ns = max(self.k.now_ns, until_ns)

    @property
    def stores(self):
        """How many live tasks have a store: the Wasm ones."""
        return len(self.modules)

    @property
    def busy(self):
        """Whether `step` would do something now."""
        return self._more()

    @property
    def live(self):
        """How many tasks there are, services and clients included."""
        return self.k.live

    def set_trace(self, bint on):
        """Record every call and reply as events, too."""
        self.k.trace = on

    def account(self, int32_t id):
        """What task `id` is doing and has used."""
        cdef Task task = self._task(id)[0]  # a copy: a finalizer may end it
        cdef uint64_t memory = 0
        if task.memory.is_there:
            memory = api.memory_size(task.context, &task.memory.handle)
        if task.program.is_there:
            memory += api.memory_size(task.context, &task.program.handle)
        return {
            "kind": KINDS[task.kind], "state": STATES[task.state],
            "peer": task.peer if task.state in (
                RECEIVING, SENDING, AWAITING) else None,
            "priority": task.priority, "cpu_ns": task.cpu_ns,
            "memory_bytes": memory, "calls": task.calls,
            "served": task.served, "oneways": task.oneways,
            "bytes_sent": task.bytes_sent,
            "bytes_received": task.bytes_received,
            "mailbox": task.mail_count, "preemptions": task.preemptions,
        }

    def task_ids(self):
        """The ids of all live tasks, ascending."""
        cdef uint32_t i
        return sorted([self.k.table[i].id for i in range(self.k.mask + 1)
                       if self.k.table[i] is not NULL
                       and self.k.table[i].state != EXITED])

    def _events(self, uint64_t since=0):
        """(seq, time_ns, kind, task, peer, type, value) of each event that
        the ring still holds, from number `since` on."""
        cdef uint64_t first = since
        cdef Event *event
        cdef list found = []
        if self.k.ring_next > self.k.ring_mask:
            first = max(first, self.k.ring_next - self.k.ring_mask - 1)
        while first < self.k.ring_next:
            event = &self.k.ring[first & self.k.ring_mask]
            found.append((event.seq, event.time_ns, EVENT_NAMES[event.kind],
                          event.task, event.peer, event.type, event.value))
            first += 1
        return found


# Never used up: what is left tells what was burnt.
cdef uint64_t FUEL = <uint64_t>1 << 62

cdef enum:
    FUEL_SLICE = 100_000    # instructions between preemptions, virtual clock


cdef inline bint failed(Task *task) noexcept nogil:
    return task.error is not NULL or task.trap is not NULL


cdef void let_go(Kern *k, Task *task) noexcept:
    """Of all capabilities, which others may have been derived from."""
    cdef uint32_t i
    stands_on(k, task, NULL)
    for i in range(task.hold_count):
        while task.holds[i] is not NULL:
            cap_detach(task.holds[i].head)


cdef void drop_caller(Task *task) noexcept:
    if task.caller is not NULL:
        Py_DECREF(<object>task.caller)
        task.caller = NULL


cdef list backtrace(void *failure, bint is_trap):
    """(function index, name or None, offset in the module, the module's name or
    None), innermost first. The engine itself keeps twenty, as it comes."""
    cdef wasm_ptr_vec_t vec
    cdef list frames = []
    if is_trap:
        api.trap_trace(failure, &vec)
    else:
        api.error_trace(failure, &vec)
    for i in range(min(<int>vec.size, MAX_FRAMES)):
        frames.append((
            api.frame_func_index(vec.data[i]),
            frame_text(api.frame_func_name(vec.data[i])),
            api.frame_module_offset(vec.data[i]),
            frame_text(api.frame_module_name(vec.data[i]))))
    api.frame_vec_delete(&vec)
    return frames

cdef enum:
    MAX_FRAMES = 32


cdef str innermost_cause(str message):
    """Of a failure in a guest that has no number: the engine tells where, then why, and the first
    is what the backtrace is for."""
    cdef str cause = message.rpartition("Caused by:")[2].strip()
    return "uncaught exception" if cause == "thrown Wasm exception" else cause


cdef str frame_text(wasm_byte_vec_t *name):
    return None if name is NULL else PyBytes_FromStringAndSize(
        name.data, <Py_ssize_t>name.size).decode("utf-8", "replace")


cdef void *function_type(int params, int results):
    cdef void *types[4]
    cdef wasm_ptr_vec_t ins
    cdef wasm_ptr_vec_t outs
    cdef int i
    for i in range(params):
        types[i] = api.valtype_new(VALKIND_I32)
    api.valtype_vec_new(&ins, params, types)
    for i in range(results):
        types[i] = api.valtype_new(VALKIND_I32)
    api.valtype_vec_new(&outs, results, types)
    return api.functype_new(&ins, &outs)


cdef void define_host(void *linker, Kern *k, bytes name, int params,
                      int results, unchecked_callback_t function,
                      async_callback_t waiter) except *:
    cdef void *type = function_type(params, results)
    cdef void *error
    if waiter is not NULL:
        error = api.linker_define_async(linker, b"kernel", 6, name, len(name),
                                        type, waiter, k, NULL)
    else:
        error = api.linker_define_unchecked(
            linker, b"kernel", 6, name, len(name), type, function, k, NULL)
    api.functype_delete(type)
    if error is not NULL:
        raise InternalError(take_error(error))
