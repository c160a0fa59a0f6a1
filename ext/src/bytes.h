/* Integers in byte strings, whatever the host's byte order and alignment. */
#ifndef LNF_BYTES_H
#define LNF_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t lnf_load_be32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void lnf_store_be32(unsigned char *p, uint32_t v) {
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static inline void lnf_store_be64(unsigned char *p, uint64_t v) {
    lnf_store_be32(p, (uint32_t)(v >> 32));
    lnf_store_be32(p + 4, (uint32_t)v);
}

static inline uint32_t lnf_load_le32(const unsigned char *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | (uint32_t)p[0];
}

static inline void lnf_store_le32(unsigned char *p, uint32_t v) {
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
    p[2] = (unsigned char)(v >> 16);
    p[3] = (unsigned char)(v >> 24);
}

static inline uint64_t lnf_load_le64(const unsigned char *p) {
    return (uint64_t)lnf_load_le32(p + 4) << 32 | lnf_load_le32(p);
}

static inline void lnf_store_le64(unsigned char *p, uint64_t v) {
    lnf_store_le32(p, (uint32_t)v);
    lnf_store_le32(p + 4, (uint32_t)(v >> 32));
}

/* memcpy that may be called with null pointers when there is nothing to copy. */
static inline void lnf_copy(unsigned char *to, const unsigned char *from, size_t len) {
    if (len != 0) memcpy(to, from, len);
}

#endif
