"""Binds the watch set and the block walk."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from lnf cimport (
    lnf_block_check_header,
    lnf_block_check_merkle_root,
    lnf_block_hit,
    lnf_block_scan,
    lnf_watchset,
    lnf_watchset_add_outpoint,
    lnf_watchset_add_script,
    lnf_watchset_count_outpoint,
    lnf_watchset_count_script,
    lnf_watchset_create,
    lnf_watchset_destroy,
    lnf_watchset_remove_outpoint,
    lnf_watchset_remove_script,
    lnf_watchset_size,
)

# Most blocks hit nothing, and these are on the stack.
cdef enum:
    FEW_HITS = 32


cdef class WatchSet:
    """A counted set of outpoints (36 bytes) and scripts. It refuses changes while a scan in another thread reads it."""

    cdef lnf_watchset *set
    cdef int scans

    def __cinit__(self, bytes seed32 not None):
        if len(seed32) != 32:
            raise ValueError(f"a seed of {len(seed32)} bytes, not 32")
        self.set = lnf_watchset_create(seed32)
        if self.set is NULL:
            raise MemoryError

    def __dealloc__(self):
        lnf_watchset_destroy(self.set)

    def __len__(self):
        return lnf_watchset_size(self.set)

    def add_outpoint(self, bytes outpoint36 not None):
        check_outpoint(outpoint36)
        self.check_free()
        if not lnf_watchset_add_outpoint(self.set, outpoint36):
            raise MemoryError

    def remove_outpoint(self, bytes outpoint36 not None):
        """False if nobody watched it."""
        check_outpoint(outpoint36)
        self.check_free()
        return bool(lnf_watchset_remove_outpoint(self.set, outpoint36))

    def count_outpoint(self, bytes outpoint36 not None):
        check_outpoint(outpoint36)
        return lnf_watchset_count_outpoint(self.set, outpoint36)

    def add_script(self, bytes script not None):
        """ValueError for a script that is empty or over 10,000 bytes."""
        self.check_free()
        if not lnf_watchset_add_script(self.set, script, len(script)):
            raise ValueError(f"a script of {len(script)} bytes cannot be watched")

    def remove_script(self, bytes script not None):
        """False if nobody watched it."""
        self.check_free()
        return bool(lnf_watchset_remove_script(self.set, script, len(script)))

    def count_script(self, bytes script not None):
        return lnf_watchset_count_script(self.set, script, len(script))

    def scan(self, bytes block not None):
        """The block's hash and its hits, (tx_index, tx_offset, tx_len, txid, kind, index) each; None for bad bytes."""
        cdef lnf_block_hit few[FEW_HITS]
        cdef lnf_block_hit *hits = few
        cdef lnf_block_hit *many = NULL
        cdef size_t room = FEW_HITS, found = 0, size = len(block)
        cdef const unsigned char *data = block
        cdef unsigned char block_hash[32]
        cdef int good
        try:
            while True:
                self.scans += 1
                with nogil:
                    good = lnf_block_scan(block_hash, hits, &found, room, self.set, data, size)
                self.scans -= 1
                if not good:
                    return None
                if found <= room:
                    return block_hash[:32], [hit_tuple(&hits[i]) for i in range(found)]
                many = <lnf_block_hit *>malloc(found * sizeof(lnf_block_hit))
                if many is NULL:
                    raise MemoryError
                hits, room = many, found
        finally:
            free(many)

    cdef int check_free(self) except -1:
        if self.scans:
            raise RuntimeError("the watch set was changed during a scan")
        return 0


cdef int check_outpoint(bytes outpoint36) except -1:
    if len(outpoint36) != 36:
        raise ValueError(f"an outpoint of {len(outpoint36)} bytes, not 36")
    return 0


cdef tuple hit_tuple(const lnf_block_hit *hit):
    return hit.tx_index, hit.tx_offset, hit.tx_len, hit.txid32[:32], hit.kind, hit.index


def check_header(bytes header80 not None, bytes prev32, uint32_t limit_bits):
    """The header's hash, and whether it links to prev32 (None: to anything) and has the work that it claims."""
    cdef unsigned char block_hash[32]
    cdef const unsigned char *prev = NULL
    if len(header80) != 80:
        raise ValueError(f"a header of {len(header80)} bytes, not 80")
    if prev32 is not None:
        if len(prev32) != 32:
            raise ValueError(f"a block hash of {len(prev32)} bytes, not 32")
        prev = prev32
    good = lnf_block_check_header(block_hash, header80, prev, limit_bits)
    return block_hash[:32], bool(good)


def check_merkle_root(bytes block not None):
    """Whether the transactions are those that the header commits to."""
    cdef size_t size = len(block)
    cdef const unsigned char *data = block
    cdef int good
    with nogil:
        good = lnf_block_check_merkle_root(data, size)
    return bool(good)
