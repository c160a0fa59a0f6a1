/* Onions in memory of exactly their size, over the toy group: built, peeled, damaged and malformed. */
#include "onion_tools.h"

#define MAX_HOPS 8

static void there_and_back(size_t n, size_t payload_len, size_t room) {
    unsigned char nodes[MAX_HOPS][32], ids[MAX_HOPS][33], secrets[32 * MAX_HOPS], session32[32], data[7];
    lnf_onion_hop hops[MAX_HOPS];
    lnf_onion_peeled out;
    size_t each = payload_len + (payload_len < 0xfd ? 1 : 3) + 32, len = LNF_ONION_OVERHEAD_BYTES + n * each + room;
    unsigned char *payload = exact(payload_len), *packet = exact(len), digest32[32];
    fill(payload, payload_len, 7);
    fill(session32, 32, 8);
    fill(data, sizeof data, 9);
    for (size_t i = 0; i < n; i++) {
        fill(nodes[i], 32, 10 + (uint32_t)i);
        toy_encode(ids[i], toy_power(3, nodes[i]));
        hops[i] = (lnf_onion_hop){ids[i], payload, payload_len};
    }
    CHECK(lnf_onion_build(packet, secrets, len, session32, hops, n, data, sizeof data));
    CHECK(room != 0 || !lnf_onion_build(packet, secrets, len - 1, session32, hops, n, data, sizeof data));
    CHECK(lnf_onion_build(packet, secrets, len, session32, hops, n, data, sizeof data));
    for (size_t i = 0; i < n; i++) {
        packet[len / 2] ^= 1;
        lnf_sha256(digest32, packet, len);
        CHECK(!peel(&out, packet, len, data, sizeof data, NULL, nodes[i]) && out.error == LNF_ONION_BAD_HMAC);
        CHECK(memcmp(out.sha256_of_onion32, digest32, 32) == 0 && is_zero(out.shared_secret32, 32) &&
              out.payload_len == 0);
        done(&out);
        packet[len / 2] ^= 1;
        CHECK(peel(&out, packet, len, data, sizeof data, NULL, nodes[i]) && out.error == LNF_ONION_OK);
        CHECK(out.payload_len == payload_len && memcmp(out.unwrapped + out.payload_offset, payload, payload_len) == 0);
        CHECK(memcmp(out.shared_secret32, secrets + 32 * i, 32) == 0 && is_zero(out.path_secret32, 32));
        CHECK(out.is_final == (i + 1 == n));
        if (!out.is_final) memcpy(packet, out.next_packet, len);
        done(&out);
    }
    free(payload);
    free(packet);
}

static void malformed_lengths(void) {
    static const unsigned char STARTS[][5] = {
        {0}, {1}, {2}, {0xfc}, {0xfd, 0, 0xfc}, {0xfd, 0, 0xfd}, {0xfd, 0xff, 0xff}, {0xfe}, {0xff}};
    unsigned char node32[32];
    lnf_onion_peeled out;
    fill(node32, 32, 3);
    for (size_t start = 0; start < sizeof STARTS / sizeof *STARTS; start++) {
        for (size_t field_len = 0; field_len < 300; field_len++) {
            const unsigned char *s = STARTS[start];
            size_t len = LNF_ONION_OVERHEAD_BYTES + field_len, prefix = s[0] == 0xfd ? 3 : 1;
            size_t payload_len = s[0] == 0xfd ? (size_t)s[1] << 8 | s[2] : s[0];
            unsigned char *field = exact(field_len), *packet = exact(len);
            int fits = s[0] < 0xfe && payload_len >= (prefix == 3 ? 0xfd : 2) && prefix + payload_len + 32 <= field_len;
            fill(field, field_len, 4);
            lnf_copy(field, s, field_len < 5 ? field_len : 5);
            seal(packet, field, field_len, node32);
            CHECK(peel(&out, packet, len, NULL, 0, NULL, node32) == fits);
            CHECK(out.error == (fits ? LNF_ONION_OK : LNF_ONION_BAD_PAYLOAD) && !is_zero(out.shared_secret32, 32));
            CHECK(out.payload_len == (fits ? payload_len : 0));
            done(&out);
            free(field);
            free(packet);
        }
    }
    for (size_t len = 0; len < LNF_ONION_OVERHEAD_BYTES; len++) {
        unsigned char *packet = exact(len);
        CHECK(!peel(&out, packet, len, NULL, 0, NULL, node32) && out.error == LNF_ONION_BAD_HMAC);
        done(&out);
        free(packet);
    }
}

static void failures(void) {
    static const size_t LENS[] = {0, 2, 255, 256, 257, 1000};
    unsigned char secrets[32 * 30];
    fill(secrets, sizeof secrets, 5);
    for (size_t i = 0; i < sizeof LENS / sizeof *LENS; i++) {
        for (size_t from = 0; from < 30; from += 7) {
            size_t len = lnf_failure_packet_bytes(LENS[i]), message_len, hop;
            unsigned char *message = exact(LENS[i]), *packet = exact(len), *back = exact(2 * len);
            fill(message, LENS[i], 6);
            lnf_failure_packet_create(packet, message, LENS[i], secrets + 32 * from);
            for (size_t j = from; j-- > 0;) lnf_failure_packet_wrap(packet, len, secrets + 32 * j);
            CHECK(lnf_failure_packet_unwrap(back, &message_len, &hop, packet, len, secrets, 30));
            CHECK(hop == from && message_len == LENS[i] &&
                  (message_len == 0 || memcmp(back, message, message_len) == 0));
            packet[len - 1] ^= 1;
            CHECK(!lnf_failure_packet_unwrap(back, &message_len, &hop, packet, len, secrets, 30) && message_len == 0);
            free(message);
            free(packet);
            free(back);
        }
    }
    for (size_t len = 0; len < 40; len++) {
        size_t message_len, hop;
        unsigned char *packet = exact(len), *back = exact(2 * len);
        fill(packet, len, 7);
        CHECK(!lnf_failure_packet_unwrap(back, &message_len, &hop, packet, len, secrets, 2));
        free(packet);
        free(back);
    }
}

static void test(void) {
    there_and_back(1, 2, 0);
    there_and_back(1, 253, 1);
    there_and_back(5, 40, 0);
    there_and_back(5, 40, 700);
    there_and_back(8, 252, 3);
    there_and_back(3, 5000, 17);
    malformed_lengths();
    failures();
}

int main(void) {
    toy_secp_install();
    on_every_level(test);
    return 0;
}
