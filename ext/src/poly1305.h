/* Poly1305 (RFC 8439, 2.5) over whole 16-byte blocks, as the AEAD feeds it: every input is padded to a block. */
#ifndef LNF_POLY1305_H
#define LNF_POLY1305_H

#include <stddef.h>
#include <stdint.h>

/* Limbs of 44, 44 and 42 bits. */
typedef struct {
    uint64_t r[3], h[3], s[2];
} lnf_poly1305;

void lnf_poly1305_init(lnf_poly1305 *poly, const unsigned char *key32);
/* data, then zeroes up to a multiple of 16 bytes. */
void lnf_poly1305_update_padded(lnf_poly1305 *poly, const unsigned char *data, size_t len);
void lnf_poly1305_final(unsigned char *tag16, lnf_poly1305 *poly);

#endif
