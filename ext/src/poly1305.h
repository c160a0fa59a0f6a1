/* Poly1305 (RFC 8439, 2.5) over whole 16-byte blocks, as the AEAD feeds it: every input is padded to a block. */
#ifndef LNF_POLY1305_H
#define LNF_POLY1305_H

#include "cpu.h"

/* Limbs of 44, 44 and 42 bits. */
typedef struct {
    uint64_t r[3], h[3], s[2];
} lnf_poly1305;

void lnf_poly1305_init(lnf_poly1305 *poly, const unsigned char *key32);
/* data, then zeroes up to a multiple of 16 bytes. */
void lnf_poly1305_update_padded(lnf_poly1305 *poly, const unsigned char *data, size_t len);
void lnf_poly1305_final(unsigned char *tag16, lnf_poly1305 *poly);

#ifdef LNF_X86
/* h = (h + the first block) * r^n + the second * r^(n - 1) ..., over groups (at least one) of n = 4 or 8 blocks. powers
 * are r to r^n. Limbs as in lnf_poly1305, with up to 3 bits more; out, h has up to 49 bits a limb. */
void lnf_poly1305_blocks4_avx2(uint64_t h[3], const uint64_t powers[4][3], const unsigned char *data, size_t groups);
void lnf_poly1305_blocks8_avx512(uint64_t h[3], const uint64_t powers[8][3], const unsigned char *data, size_t groups);
#endif

#endif
