# Lending: memory of a task's that a Python service may use until it answers.
#
# Law: who lends is blocked meanwhile, its memory doesn't move and doesn't
# shrink. After the answer nothing is read or written any more; a view that is
# still held keeps the memory alive, so that it can do no harm.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo


cdef class Lent:
    """Memory that a message lends. As long as the call is under way, its bytes
    can be read and, if the message says so, written; `view()` is the memory
    itself, without a copy."""

    cdef Core core
    cdef object buffer      # a Python client's; otherwise `base` is where it is
    cdef uint8_t *base
    cdef readonly uint32_t size
    cdef readonly bint writable
    cdef int32_t service
    cdef int32_t client
    cdef uint64_t serial
    cdef Loan *loan         # as long as there are views
    cdef uint32_t views

    def __init__(self):
        raise TypeError("memory is lent with a message; nobody else makes a Lent")

    def __len__(self):
        return self.size

    @property
    def over(self):
        """Whether the call was answered, or its task has ended."""
        return self._found() is NULL

    cdef Task *_found(self) except? NULL:
        """Who lends it, if it still awaits the answer; else NULL."""
        if self.core is None:
            raise TypeError("nobody has lent it")
        self.core._enter()
        return self.core._awaiting(self.service, self.client, self.serial)

    cdef Task *_lender(self) except NULL:
        cdef Task *task = self._found()
        if task is NULL:
            raise BufferError("what was lent with a call is gone with its answer")
        return task

    def read(self, size=None, uint32_t offset=0):
        """At most `size` bytes from `offset` on, all of them by default."""
        cdef uint32_t start = min(offset, self.size)
        cdef uint32_t most = self.size - start
        cdef bytes copy
        if size is not None:
            most = <uint32_t>min(<uint64_t>most, <uint64_t>PyNumber_Index(size))
        if self.buffer is not None:
            self._lender()
            return bytes(self.buffer[start:start + most])
        copy = PyBytes_FromStringAndSize(NULL, most)
        # Last: whatever Python did until here may have ended the call, and freed the memory.
        self._lender()
        memcpy(<char *>copy, self.base + start, most)
        return copy

    def write(self, data, uint32_t offset=0):
        """How many of the bytes had room from `offset` on."""
        cdef const uint8_t[::1] source = memoryview(data).cast("B")
        cdef uint32_t start = min(offset, self.size)
        cdef uint32_t most = <uint32_t>min(self.size - start, <uint64_t>len(source))
        # Last: whatever Python did until here may have ended the call, and freed the memory.
        self._lender()
        if not self.writable:
            raise BufferError("it was lent to be read")
        if most == 0:
            return 0
        if self.buffer is not None:
            self.buffer[start:start + most] = source[:most]
        else:
            memmove(self.base + start, &source[0], most)  # it may be a view of the same
        return most

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef Task *task = self._lender()
        if flags & PyBUF_WRITABLE and not self.writable:
            raise BufferError("it was lent to be read")
        if self.buffer is not None:
            raise BufferError("a Python client's: use `view`")
        if task.loan is NULL:
            task.loan = <Loan *>calloc(1, sizeof(Loan))
            if task.loan is NULL:
                raise MemoryError
        PyBuffer_FillInfo(view, self, self.base, self.size, not self.writable, flags)
        self.loan = task.loan
        self.loan.views += 1
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        cdef Loan *loan = self.loan
        self.views -= 1
        if self.views == 0:
            self.loan = NULL
        loan.views -= 1
        if loan.views == 0 and loan.store is not NULL:
            delete_store(loan.store)
            free(loan)

    def view(self):
        """A memoryview of it, to be released before the answer."""
        self._lender()
        if self.buffer is None:
            return memoryview(self)
        return self.buffer[:] if self.writable else self.buffer.toreadonly()
