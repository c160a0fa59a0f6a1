/* What commitment.c needs of tx.c beyond the public header: the hash of BIP 143 from parts that are already known. */
#ifndef LNF_TX_H
#define LNF_TX_H

#include "bytes.h"
#include "lnfast.h"

typedef struct {
    uint32_t version, sequence, lock_time, type;
    uint64_t value_sat;
    const unsigned char *hash_prevouts32, *hash_sequence32, *outpoint36, *hash_outputs32;
} lnf_sighash_parts;

void lnf_sighash_from_parts(unsigned char *out32, const lnf_sighash_parts *parts, const unsigned char *script_code,
                            size_t len);

/* CompactSize. Returns where the next byte goes. */
static inline unsigned char *lnf_put_compact_size(unsigned char *p, uint64_t n) {
    if (n < 0xfd) {
        *p++ = (unsigned char)n;
        return p;
    }
    if (n <= 0xffff) {
        *p++ = 0xfd;
        *p++ = (unsigned char)n;
        *p++ = (unsigned char)(n >> 8);
        return p;
    }
    *p++ = 0xfe;
    lnf_store_le32(p, (uint32_t)n);
    return p + 4;
}

/* One output of a transaction. The script is shorter than 253 bytes. */
static inline unsigned char *lnf_put_output(unsigned char *p, uint64_t value_sat, const unsigned char *script,
                                            size_t len) {
    lnf_store_le64(p, value_sat);
    p[8] = (unsigned char)len;
    memcpy(p + 9, script, len);
    return p + 9 + len;
}

#endif
