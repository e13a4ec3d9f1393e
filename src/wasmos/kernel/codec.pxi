# Messages as Python values.
#
# Law: offsets come from the IDL's tables and are checked once, when a layout
# is made. What a guest wrote is checked every time: lengths against their
# arrays, strings for their end.

from cpython.long cimport PyLong_Check
from cpython.number cimport PyNumber_Index
from cpython.unicode cimport PyUnicode_DecodeUTF8

cdef enum:
    MAX_FIELDS = 16
    FIELD_INT32 = 0
    FIELD_UINT32 = 1
    FIELD_UINT16 = 2
    FIELD_CSTR = 3
    FIELD_BYTES = 4
    FIELD_UINT8_ARRAY = 5
    FIELD_INT64 = 6
    FIELD_LENT = 7
    FIELD_LENT_OUT = 8


class MalformedMessage(ValueError):
    """A guest's message breaks its definition; its caller gets -11."""


cdef struct FieldLayout:
    int kind
    uint32_t offset
    uint32_t size
    uint32_t len_offset


cdef class Layout:
    """Where the fields of one message class lie; made from its FIELDS."""

    cdef readonly object cls
    cdef readonly int32_t type
    cdef readonly uint32_t size
    cdef readonly tuple names
    cdef readonly int lent   # which field is memory of the sender's, or -1
    cdef int count
    cdef FieldLayout fields[MAX_FIELDS]

    def __init__(self, cls):
        self.cls = cls
        self.type = cls.TYPE
        self.size = cls.SIZE
        self.count = len(cls.FIELDS)
        self.names = tuple(field.name for field in cls.FIELDS)
        self.lent = -1
        if not HEADER_BYTES <= self.size <= MESSAGE_BYTES or self.count > MAX_FIELDS:
            raise ValueError(f"{cls.__name__} does not fit a message")
        cdef FieldLayout *row
        for i, field in enumerate(cls.FIELDS):
            row = &self.fields[i]
            row.kind = field.kind
            row.offset = field.offset
            row.size = field.size
            row.len_offset = field.len_offset
            if row.kind == FIELD_LENT or row.kind == FIELD_LENT_OUT:
                if self.lent >= 0:
                    raise ValueError(f"{cls.__name__} lends twice")
                self.lent = i
            if row.offset < HEADER_BYTES or row.offset + row.size > self.size or (
                    row.len_offset and row.len_offset + 4 > self.size):
                raise ValueError(f"{cls.__name__}.{field.name} is outside")

    cdef object get(self, int index, const uint8_t *message, object lent=None):
        """One field's value; `lent` is that of a field of that kind. Raises
        MalformedMessage."""
        cdef FieldLayout *field = &self.fields[index]
        cdef const uint8_t *at = message + field.offset
        cdef uint32_t length
        cdef uint16_t short_value
        cdef int64_t long_value
        cdef const void *end
        if field.kind == FIELD_INT32:
            return load_i32(at)
        if field.kind == FIELD_UINT32:
            return <uint32_t>load_i32(at)
        if field.kind == FIELD_UINT16:
            memcpy(&short_value, at, 2)
            return short_value
        if field.kind == FIELD_INT64:
            memcpy(&long_value, at, 8)
            return long_value
        if field.kind >= FIELD_LENT:
            return lent
        if field.kind == FIELD_CSTR:
            end = memchr(at, 0, field.size)
            if end is NULL:
                raise MalformedMessage(f"{self.names[index]} is not terminated")
            return PyUnicode_DecodeUTF8(
                <const char *>at, <const char *>end - <const char *>at,
                "surrogateescape")
        length = field.size
        if field.kind == FIELD_BYTES:
            length = <uint32_t>load_i32(message + field.len_offset)
            if length > field.size:
                raise MalformedMessage(f"{self.names[index]} is too long")
        return PyBytes_FromStringAndSize(<const char *>at, length)

    cdef int put(self, int index, uint8_t *message, object value) except -1:
        """Store one field. Raises TypeError, ValueError or OverflowError."""
        cdef FieldLayout *field = &self.fields[index]
        cdef uint8_t *at = message + field.offset
        cdef bytes raw
        cdef uint16_t short_value
        cdef int64_t long_value
        if (field.kind <= FIELD_UINT16 or field.kind == FIELD_INT64) and not PyLong_Check(value):
            value = PyNumber_Index(value)   # no number loses its fraction here
        if field.kind == FIELD_INT32:
            store_i32(at, value)
        elif field.kind == FIELD_UINT32:
            store_i32(at, <int32_t><uint32_t>value)
        elif field.kind == FIELD_UINT16:
            short_value = value
            memcpy(at, &short_value, 2)
        elif field.kind == FIELD_INT64:
            long_value = value
            memcpy(at, &long_value, 8)
        elif field.kind >= FIELD_LENT:
            # Where the memory is, the message doesn't tell: see Core.exchange.
            store_i32(at, 0)
            store_i32(message + field.len_offset, <int32_t><uint32_t>len(view_of(
                value, field.kind == FIELD_LENT_OUT)))
        elif field.kind == FIELD_CSTR:
            raw = (value.encode("utf-8", "surrogateescape")
                   if isinstance(value, str) else bytes(value))
            if len(raw) >= field.size:
                raise ValueError(f"{self.names[index]}: {len(raw)} bytes and "
                                 f"a NUL do not fit {field.size}")
            if 0 in raw:
                raise ValueError(f"{self.names[index]} contains a NUL")
            memcpy(at, <const char *>raw, len(raw))
            memset(at + len(raw), 0, field.size - len(raw))
        else:
            if PyLong_Check(value):     # bytes(n) would be n zeros, for any n
                raise TypeError(f"{self.names[index]} takes bytes, not {value!r}")
            raw = bytes(value)
            if len(raw) > field.size or (field.kind == FIELD_UINT8_ARRAY
                                         and len(raw) != field.size):
                raise ValueError(f"{self.names[index]}: {len(raw)} bytes do "
                                 f"not fit {field.size}")
            memcpy(at, <const char *>raw, len(raw))
            if field.kind == FIELD_BYTES:
                # Nothing of an earlier message may show behind the data.
                memset(at + len(raw), 0, field.size - len(raw))
                store_i32(message + field.len_offset, <int32_t>len(raw))
        return 0

    cdef int write(self, uint8_t *message, object value) except -1:
        """Store a whole message: an instance of the class, the only field's
        value, a tuple of all of them, or None if there is none."""
        cdef int i = 0
        store_i32(message, self.type)
        store_i32(message + 4, 0)
        try:
            self.write_fields(message, value, &i)
        except OverflowError:
            raise ValueError(f"{self.names[i]}: the number doesn't fit the field")
        return 0

    cdef int write_fields(self, uint8_t *message, object value,
                          int *at) except -1:
        """`at` tells which one was the last."""
        cdef int i
        if type(value) is self.cls:
            for i in range(self.count):
                at[0] = i
                self.put(i, message, getattr(value, self.names[i]))
        elif self.count == 1:
            self.put(0, message, value)
        elif self.count == 0:
            if value is not None:
                raise TypeError(f"{self.cls.__name__} carries nothing, "
                                f"not {value!r}")
        elif isinstance(value, tuple) and len(value) == self.count:
            for i in range(self.count):
                at[0] = i
                self.put(i, message, value[i])
        else:
            raise TypeError(f"{self.cls.__name__} carries ({', '.join(self.names)}), "
                            f"not {value!r}")
        return 0

    def encode(self, value):
        """The message as bytes, header included."""
        cdef uint8_t message[MESSAGE_BYTES]
        memset(message, 0, self.size)
        self.write(message, value)
        return PyBytes_FromStringAndSize(<char *>message, self.size)

    def decode(self, bytes raw not None):
        """An instance of the class from `size` bytes or more."""
        if <uint32_t>len(raw) < self.size:
            raise ValueError(f"{self.cls.__name__} takes {self.size} bytes")
        return self.read(<const uint8_t *><const char *>raw)

    cdef object read(self, const uint8_t *message):
        if self.count == 1:
            return self.cls(self.get(0, message))
        return self.cls(*[self.get(i, message) for i in range(self.count)])


cdef object view_of(object buffer, bint writable):
    """A buffer of Python's as bytes. Raises TypeError if it has to be writable
    and isn't."""
    cdef object view = memoryview(buffer).cast("B")
    if writable and view.readonly:
        raise TypeError("memory to be filled has to be writable: a bytearray, for example")
    return view


cdef class Handler:
    """What a Python service does with one message type."""

    cdef readonly object function
    cdef readonly Layout request
    cdef readonly Layout reply   # None for a one-way message
    cdef readonly bint is_async

    def __init__(self, function, Layout request not None, Layout reply,
                 bint is_async):
        self.function = function
        self.request = request
        self.reply = reply
        self.is_async = is_async

    cdef object invoke(self, object caller, const uint8_t *message, object lent):
        """Call the method with the caller and the fields in their order."""
        cdef Layout layout = self.request
        if layout.count == 1:
            return self.function(caller, layout.get(0, message, lent))
        if layout.count == 0:
            return self.function(caller)
        if layout.count == 2:
            return self.function(caller, layout.get(0, message, lent),
                                 layout.get(1, message, lent))
        if layout.count == 3:
            return self.function(caller, layout.get(0, message, lent),
                                 layout.get(1, message, lent),
                                 layout.get(2, message, lent))
        return self.function(caller, *[
            layout.get(i, message, lent) for i in range(layout.count)])
