# Checks of arguments, shared by the bindings. `bytes` as a type of Cython refuses its subclasses, and our secrets are
# subclasses of bytes: so an argument stays untyped, and one of these looks at it.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE


cdef inline const unsigned char *bytes_of(object value, Py_ssize_t size, str name) except NULL:
    """The value's own memory, if it is bytes of this size: valid while the caller holds the value."""
    if not PyBytes_Check(value):
        raise TypeError(f"{name}: {type(value).__name__} instead of bytes")
    if PyBytes_GET_SIZE(value) != size:
        raise ValueError(f"{name}: {PyBytes_GET_SIZE(value)} bytes, not {size}")
    return <const unsigned char *>PyBytes_AS_STRING(value)


cdef inline const unsigned char *any_bytes(object value, str name) except NULL:
    """As bytes_of, of any size: PyBytes_GET_SIZE tells it."""
    if not PyBytes_Check(value):
        raise TypeError(f"{name}: {type(value).__name__} instead of bytes")
    return <const unsigned char *>PyBytes_AS_STRING(value)


cdef inline bytes new_bytes(Py_ssize_t size):
    """Fresh bytes that nobody else has seen yet: to be filled before they are returned."""
    return PyBytes_FromStringAndSize(NULL, size)
