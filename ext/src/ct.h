/* Marks for the constant-time test (ext/tests/ctime_*.c, which runs under valgrind with every secret undefined). */
#ifndef LNF_CT_H
#define LNF_CT_H

#include <stddef.h>

#ifdef LNF_CTIME
#include <valgrind/memcheck.h>
/* What was computed from secrets and is public from here on, such as whether a tag matches. */
static inline void lnf_declassify(const void *memory, size_t len) { (void)VALGRIND_MAKE_MEM_DEFINED(memory, len); }
#else
static inline void lnf_declassify(const void *memory, size_t len) {
    (void)memory;
    (void)len;
}
#endif

#endif
