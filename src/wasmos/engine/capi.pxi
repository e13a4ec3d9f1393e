# The C API of libwasmtime, declared once.
#
# Law: this is the only file that names a symbol of the library, and nothing
# links against it: `load_library` opens the shared object found in the
# `wasmtime` wheel and fills these pointers, once, before anything else runs.
# The layouts are checked against the wheel's own ctypes declarations by
# tests/engine/test_capi.py.

from libc.stdint cimport (int32_t, int64_t, uint8_t, uint16_t, uint32_t,
                          uint64_t, uintptr_t, INT32_MAX, INT64_MAX, UINT32_MAX)

cdef extern from "<dlfcn.h>" nogil:
    void *dlopen(const char *path, int flags)
    void *dlsym(void *handle, const char *name)
    char *dlerror()
    int RTLD_NOW
    int RTLD_LOCAL

# Opaque types of the library are all `void` here: the pointers are only
# handed back to it, and their roles are in the names.

ctypedef struct wasm_byte_vec_t:
    size_t size
    char *data

ctypedef struct wasm_ptr_vec_t:
    size_t size
    void **data

ctypedef struct wasmtime_func_t:
    uint64_t store_id
    void *private

ctypedef struct wasmtime_memory_t:
    uint64_t store_id
    uint32_t private1
    uint32_t padding
    uint64_t private2

ctypedef struct wasmtime_instance_t:
    uint64_t store_id
    size_t private

ctypedef union extern_union_t:
    wasmtime_func_t func
    wasmtime_memory_t memory
    uint64_t widest[3]

ctypedef struct wasmtime_extern_t:
    uint8_t kind
    extern_union_t of

ctypedef union val_union_t:
    int32_t i32
    int64_t i64
    uint64_t widest[3]

ctypedef struct wasmtime_val_t:
    uint8_t kind
    val_union_t of

ctypedef union wasmtime_val_raw_t:
    int32_t i32
    int64_t i64
    uint64_t v128[2]

# C's bool: one byte in the register, the rest is noise.
ctypedef uint8_t bool_t

ctypedef bool_t (*continuation_callback_t)(void *env) noexcept nogil

ctypedef struct wasmtime_async_continuation_t:
    continuation_callback_t callback
    void *env
    void (*finalizer)(void *) noexcept nogil

ctypedef void *(*unchecked_callback_t)(
    void *env, void *caller, wasmtime_val_raw_t *args, size_t n) noexcept nogil

ctypedef void (*async_callback_t)(
    void *env, void *caller, const wasmtime_val_t *args, size_t nargs,
    wasmtime_val_t *results, size_t nresults, void **trap_ret,
    wasmtime_async_continuation_t *continuation_ret) noexcept nogil

cdef enum:
    EXTERN_FUNC = 0
    EXTERN_MEMORY = 3
    VALKIND_I32 = 0
    TRAP_INTERRUPT = 10
    TRAP_OUT_OF_FUEL = 11
    STRATEGY_CRANELIFT = 1
    OPT_NONE = 0
    OPT_SPEED = 1

cdef struct Api:
    # vectors and strings
    void (*byte_vec_delete)(wasm_byte_vec_t *) noexcept nogil
    # configuration and engine
    void *(*config_new)() noexcept nogil
    void *(*engine_new)(void *config) noexcept nogil
    void (*engine_delete)(void *engine) noexcept nogil
    void (*increment_epoch)(void *engine) noexcept nogil
    # modules
    void *(*wat2wasm)(const char *, size_t, wasm_byte_vec_t *) noexcept nogil
    void *(*module_validate)(void *engine, const uint8_t *,
                             size_t) noexcept nogil
    void *(*module_new)(void *engine, const uint8_t *, size_t,
                        void **module) noexcept nogil
    void (*module_delete)(void *module) noexcept nogil
    void *(*module_serialize)(void *module, wasm_byte_vec_t *) noexcept nogil
    void *(*module_deserialize)(void *engine, const uint8_t *, size_t,
                                void **module) noexcept nogil
    # stores
    void *(*store_new)(void *engine, void *data,
                       void (*finalizer)(void *) noexcept nogil) noexcept nogil
    void (*store_delete)(void *store) noexcept nogil
    void *(*store_context)(void *store) noexcept nogil
    void (*store_limiter)(void *store, int64_t memory, int64_t elements,
                          int64_t instances, int64_t tables,
                          int64_t memories) noexcept nogil
    void (*set_epoch_deadline)(void *context, uint64_t ticks) noexcept nogil
    void *(*epoch_yield)(void *context, uint64_t ticks) noexcept nogil
    void *(*set_fuel)(void *context, uint64_t fuel) noexcept nogil
    void *(*get_fuel)(void *context, uint64_t *fuel) noexcept nogil
    void *(*fuel_yield)(void *context, uint64_t interval) noexcept nogil
    # linking and calling
    void *(*functype_new)(wasm_ptr_vec_t *params,
                          wasm_ptr_vec_t *results) noexcept nogil
    void (*functype_delete)(void *) noexcept nogil
    void *(*valtype_new)(uint8_t kind) noexcept nogil
    void (*valtype_vec_new)(wasm_ptr_vec_t *, size_t,
                            void *const *) noexcept nogil
    void *(*linker_new)(void *engine) noexcept nogil
    void (*linker_delete)(void *linker) noexcept nogil
    void *(*linker_define_unchecked)(
        void *linker, const char *, size_t, const char *, size_t, void *type,
        unchecked_callback_t, void *env,
        void (*finalizer)(void *) noexcept nogil) noexcept nogil
    void *(*linker_define_async)(
        void *linker, const char *, size_t, const char *, size_t, void *type,
        async_callback_t, void *env,
        void (*finalizer)(void *) noexcept nogil) noexcept nogil
    void *(*linker_define_instance)(
        void *linker, void *context, const char *, size_t,
        const wasmtime_instance_t *) noexcept nogil
    void *(*linker_instantiate)(
        void *linker, void *context, void *module,
        wasmtime_instance_t *, void **trap) noexcept nogil
    void *(*linker_instantiate_async)(
        void *linker, void *context, void *module, wasmtime_instance_t *,
        void **trap, void **error) noexcept nogil
    bool_t (*export_get)(void *context, const wasmtime_instance_t *,
                         const char *, size_t,
                         wasmtime_extern_t *) noexcept nogil
    void *(*call_unchecked)(void *context, const wasmtime_func_t *,
                            wasmtime_val_raw_t *, size_t,
                            void **trap) noexcept nogil
    void *(*call_async)(void *context, const wasmtime_func_t *,
                        const wasmtime_val_t *args, size_t nargs,
                        wasmtime_val_t *results, size_t nresults,
                        void **trap, void **error) noexcept nogil
    bool_t (*future_poll)(void *future) noexcept nogil
    void (*future_delete)(void *future) noexcept nogil
    uint8_t *(*memory_data)(void *context,
                            const wasmtime_memory_t *) noexcept nogil
    size_t (*memory_size)(void *context,
                          const wasmtime_memory_t *) noexcept nogil
    # failures
    void (*error_message)(void *error, wasm_byte_vec_t *) noexcept nogil
    void (*error_delete)(void *error) noexcept nogil
    void (*error_trace)(void *error, wasm_ptr_vec_t *) noexcept nogil
    void (*trap_message)(void *trap, wasm_byte_vec_t *) noexcept nogil
    bool_t (*trap_code)(void *trap, uint8_t *code) noexcept nogil
    void (*trap_trace)(void *trap, wasm_ptr_vec_t *) noexcept nogil
    void (*trap_delete)(void *trap) noexcept nogil
    void *(*trap_new)(const char *, size_t) noexcept nogil
    void (*frame_vec_delete)(wasm_ptr_vec_t *) noexcept nogil
    uint32_t (*frame_func_index)(void *frame) noexcept nogil
    size_t (*frame_module_offset)(void *frame) noexcept nogil
    wasm_byte_vec_t *(*frame_func_name)(void *frame) noexcept nogil
    wasm_byte_vec_t *(*frame_module_name)(void *frame) noexcept nogil

# Written once by `load_library`, read-only ever after.
cdef Api api
cdef void *library_handle = NULL

# One row a symbol, in the order of `Api`.
cdef tuple API_SYMBOLS = (
    b"wasm_byte_vec_delete",
    b"wasm_config_new",
    b"wasm_engine_new_with_config",
    b"wasm_engine_delete",
    b"wasmtime_engine_increment_epoch",
    b"wasmtime_wat2wasm",
    b"wasmtime_module_validate",
    b"wasmtime_module_new",
    b"wasmtime_module_delete",
    b"wasmtime_module_serialize",
    b"wasmtime_module_deserialize",
    b"wasmtime_store_new",
    b"wasmtime_store_delete",
    b"wasmtime_store_context",
    b"wasmtime_store_limiter",
    b"wasmtime_context_set_epoch_deadline",
    b"wasmtime_context_epoch_deadline_async_yield_and_update",
    b"wasmtime_context_set_fuel",
    b"wasmtime_context_get_fuel",
    b"wasmtime_context_fuel_async_yield_interval",
    b"wasm_functype_new",
    b"wasm_functype_delete",
    b"wasm_valtype_new",
    b"wasm_valtype_vec_new",
    b"wasmtime_linker_new",
    b"wasmtime_linker_delete",
    b"wasmtime_linker_define_func_unchecked",
    b"wasmtime_linker_define_async_func",
    b"wasmtime_linker_define_instance",
    b"wasmtime_linker_instantiate",
    b"wasmtime_linker_instantiate_async",
    b"wasmtime_instance_export_get",
    b"wasmtime_func_call_unchecked",
    b"wasmtime_func_call_async",
    b"wasmtime_call_future_poll",
    b"wasmtime_call_future_delete",
    b"wasmtime_memory_data",
    b"wasmtime_memory_data_size",
    b"wasmtime_error_message",
    b"wasmtime_error_delete",
    b"wasmtime_error_wasm_trace",
    b"wasm_trap_message",
    b"wasmtime_trap_code",
    b"wasm_trap_trace",
    b"wasm_trap_delete",
    b"wasmtime_trap_new",
    b"wasm_frame_vec_delete",
    b"wasm_frame_func_index",
    b"wasm_frame_module_offset",
    b"wasmtime_frame_func_name",
    b"wasmtime_frame_module_name",
)


cdef void *symbol(bytes name) except NULL:
    cdef void *address = dlsym(library_handle, name)
    if address is NULL:
        raise ImportError(
            f"the wasmtime library lacks {name.decode()}; "
            "reinstall the wasmtime version that wasmos asks for")
    return address


def load_library(str path not None):
    """Open the engine's shared library and bind the C API.

    Idempotent. Raises ImportError when the library or a symbol is missing.
    """
    global library_handle
    if library_handle is not NULL:
        return
    library_handle = dlopen(path.encode(), RTLD_NOW | RTLD_LOCAL)
    if library_handle is NULL:
        raise ImportError(f"cannot open the engine: {dlerror().decode()}")
    if sizeof(Api) != len(API_SYMBOLS) * sizeof(void *):
        raise ImportError("API_SYMBOLS does not match struct Api")
    cdef void **slot = <void **>&api
    for index, name in enumerate(API_SYMBOLS):
        slot[index] = symbol(name)


def struct_sizes():
    """Sizes in bytes of the structs declared here, for the layout test."""
    return {
        "wasm_byte_vec_t": sizeof(wasm_byte_vec_t),
        "wasmtime_func_t": sizeof(wasmtime_func_t),
        "wasmtime_memory_t": sizeof(wasmtime_memory_t),
        "wasmtime_instance_t": sizeof(wasmtime_instance_t),
        "wasmtime_extern_t": sizeof(wasmtime_extern_t),
        "wasmtime_val_t": sizeof(wasmtime_val_t),
        "wasmtime_val_raw_t": sizeof(wasmtime_val_raw_t),
        "wasmtime_async_continuation_t": sizeof(wasmtime_async_continuation_t),
    }
