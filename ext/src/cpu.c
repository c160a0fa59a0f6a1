#include "cpu.h"

_Atomic unsigned lnf_cpu_used;

#ifdef LNF_X86
#include <cpuid.h>

static unsigned detect(void) {
    unsigned a, b = 0, c, d, found = 0;
    __builtin_cpu_init();
    /* Leaf 7, EBX bit 29: SHA. The compiler's builtins do not name it, but they ask whether the system saves the vectors. */
    int sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) != 0;
    if (sha && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1")) found |= LNF_CPU_SHA_NI;
    if (__builtin_cpu_supports("avx2")) {
        found |= LNF_CPU_AVX2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma")) found |= LNF_CPU_AVX512;
    }
    return found;
}
#else
static unsigned detect(void) { return 0; }
#endif

__attribute__((constructor)) static void start(void) { atomic_store(&lnf_cpu_used, detect()); }

unsigned lnf_cpu_restrict(unsigned allowed) {
    unsigned now = detect() & allowed;
    atomic_store(&lnf_cpu_used, now);
    return now;
}
