/* The inside of SHA-256. */
#ifndef LNF_SHA256_H
#define LNF_SHA256_H

#include "cpu.h"

extern const uint32_t lnf_sha256_k[64];

#ifdef LNF_X86
/* Needs LNF_CPU_SHA_NI. */
void lnf_sha256_compress_ni(uint32_t state[8], const unsigned char *data, size_t blocks);
#endif

#endif
