/* The host's libsecp256k1 as the rest of liblnfast sees it. */
#ifndef LNF_SECP_H
#define LNF_SECP_H

#include "lnfast.h"

#define LNF_SECP_COMPRESSED 258u

extern lnf_secp256k1 lnf_secp; /* filled once by lnf_init, never changed after it */
extern void *lnf_secp_ctx;

/* Parses a compressed point. Returns 0 if it is not on the curve. */
static inline int lnf_point_parse(lnf_secp_pubkey *point, const unsigned char *point33) {
    return lnf_secp.ec_pubkey_parse(lnf_secp_ctx, point, point33, 33);
}

static inline int lnf_point_serialize(unsigned char *point33, const lnf_secp_pubkey *point) {
    size_t len = 33;
    return lnf_secp.ec_pubkey_serialize(lnf_secp_ctx, point33, &len, point, LNF_SECP_COMPRESSED);
}

/* Clears memory in a way that the compiler may not remove. */
static inline void lnf_wipe(void *memory, size_t len) {
    __builtin_memset(memory, 0, len);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

#endif
