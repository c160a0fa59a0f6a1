/* Which fast paths this process takes. */
#ifndef LNF_CPU_H
#define LNF_CPU_H

#include <stdatomic.h>

#include "lnfast.h"

#if defined(__x86_64__)
#define LNF_X86 1
#endif

extern _Atomic unsigned lnf_cpu_used; /* LNF_CPU_*: set before main, and by lnf_cpu_restrict */

static inline int lnf_cpu_has(unsigned feature) {
    return (atomic_load_explicit(&lnf_cpu_used, memory_order_relaxed) & feature) != 0;
}

#endif
