/* Onions and failures out of an input: raw, behind a valid HMAC, and built by us with payloads of the input. */
#include "fuzz_source.h"
#include "onion_tools.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);

#define HOPS 4
static const unsigned char NODE[32] = {7};

static void check_peeled(const lnf_onion_peeled *out, int good, size_t len) {
    CHECK(good == (out->error == LNF_ONION_OK));
    CHECK(is_zero(out->sha256_of_onion32, 32) == good);
    if (!good) {
        CHECK(out->payload_len == 0 && !out->is_final);
        return;
    }
    CHECK(out->payload_len >= 2 && out->payload_offset + out->payload_len + 32 <= len - LNF_ONION_OVERHEAD_BYTES);
    unsigned sum = 0;
    for (size_t i = 0; i < out->payload_len; i++) sum += out->unwrapped[out->payload_offset + i];
    for (size_t i = 0; !out->is_final && i < len; i++) sum += out->next_packet[i];
    use_sum(sum);
}

static void raw_packet(source *from) {
    unsigned char path_key33[33];
    size_t len;
    lnf_onion_peeled out;
    const int has_path_key = next(from) & 1;
    toy_encode(path_key33, 1 + next_number(from, 1));
    unsigned char *packet = next_exact(&len, from->left, from);
    check_peeled(&out, peel(&out, packet, len, NODE, 32, has_path_key ? path_key33 : NULL, NODE), len);
    done(&out);
    free(packet);
}

static void authentic_packet(source *from) {
    size_t field_len;
    lnf_onion_peeled out;
    unsigned char *field = next_exact(&field_len, from->left, from);
    const size_t len = LNF_ONION_OVERHEAD_BYTES + field_len;
    unsigned char *packet = exact(len);
    seal(packet, field, field_len, NODE);
    const int good = peel(&out, packet, len, NULL, 0, NULL, NODE);
    CHECK(good || out.error == LNF_ONION_BAD_PAYLOAD);
    check_peeled(&out, good, len);
    if (good) CHECK(memcmp(out.unwrapped, field, out.payload_offset + out.payload_len) == 0);
    done(&out);
    free(field);
    free(packet);
}

/* Up to four hops with payloads of any length: a packet that is built is peeled by each. */
static void built_packet(source *from) {
    unsigned char nodes[HOPS][32] = {{0}}, ids[HOPS][33], secrets[32 * HOPS], session32[32] = {9};
    unsigned char *payloads[HOPS];
    size_t lens[HOPS], n = 1 + next(from) % HOPS, len = LNF_ONION_OVERHEAD_BYTES + 1 + next_number(from, 2) % 2000;
    lnf_onion_hop hops[HOPS];
    for (size_t i = 0; i < n; i++) {
        nodes[i][0] = (unsigned char)(10 + i);
        toy_encode(ids[i], toy_power(3, nodes[i]));
        payloads[i] = next_exact(&lens[i], next_number(from, 2) % 1500, from);
        hops[i] = (lnf_onion_hop){ids[i], payloads[i], lens[i]};
    }
    unsigned char *packet = exact(len);
    const int built = lnf_onion_build(packet, secrets, len, session32, hops, n, NULL, 0);
    if (!built) CHECK(is_zero(packet, len) && is_zero(secrets, 32 * n));
    for (size_t i = 0; built && i < n; i++) {
        lnf_onion_peeled out;
        CHECK(peel(&out, packet, len, NULL, 0, NULL, nodes[i]));
        CHECK(out.payload_len == lens[i] && memcmp(out.unwrapped + out.payload_offset, payloads[i], lens[i]) == 0);
        CHECK(out.is_final == (i + 1 == n) && memcmp(out.shared_secret32, secrets + 32 * i, 32) == 0);
        if (!out.is_final) memcpy(packet, out.next_packet, len);
        done(&out);
    }
    for (size_t i = 0; i < n; i++) free(payloads[i]);
    free(packet);
}

/* What a hop on the way back may send: raw, or made by hop `hop` and changed in one bit. */
static void failure(source *from) {
    unsigned char secrets[32 * HOPS] = {0};
    size_t len, message_len, found, packet_len, hop = next(from) % HOPS;
    const unsigned kind = next(from) % 3;
    const size_t at = next_number(from, 2);
    const unsigned bit = 1u << next(from) % 8;
    for (size_t i = 0; i < HOPS; i++) secrets[32 * i] = (unsigned char)(i + 1);
    unsigned char *message = next_exact(&len, from->left, from);
    packet_len = kind == 0 ? len : lnf_failure_packet_bytes(len);
    unsigned char *packet = kind == 0 ? exact_copy(message, len) : exact(packet_len), *back = exact(2 * packet_len);
    if (kind != 0) {
        lnf_failure_packet_create(packet, message, len, secrets + 32 * hop);
        for (size_t i = hop; i-- > 0;) lnf_failure_packet_wrap(packet, packet_len, secrets + 32 * i);
    }
    if (kind == 2) packet[at % packet_len] ^= (unsigned char)bit;
    const int good = lnf_failure_packet_unwrap(back, &message_len, &found, packet, packet_len, secrets, HOPS);
    CHECK(good == (kind == 1));
    if (good) CHECK(found == hop && message_len == len && (len == 0 || memcmp(back, message, len) == 0));
    free(message);
    free(packet);
    free(back);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    source from = {data, len};
    toy_secp_install();
    next_level(&from);
    switch (next(&from) % 4) {
    case 0: raw_packet(&from); break;
    case 1: authentic_packet(&from); break;
    case 2: built_packet(&from); break;
    default: failure(&from);
    }
    return 0;
}
