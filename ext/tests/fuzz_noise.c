/* The input decides how messages are cut into frames and reads, and what an attacker changes on the way. */
#include "fuzz_source.h"
#include "toy_secp.h"

/* Raw bytes into every function that a stranger reaches. */
static void strangers(source *from) {
    static const unsigned char RS[32] = {7}, RE[32] = {10};
    unsigned char act[66], out[66], them[33];
    lnf_noise_handshake handshake;
    lnf_noise_cipher send, receive;
    lnf_noise_error error;
    for (size_t i = 0; i < sizeof act; i++) act[i] = (unsigned char)next(from);
    CHECK(lnf_noise_respond(&handshake, RE, RS));
    if (!lnf_noise_act_two(out, &error, &handshake, act)) {
        CHECK(error != LNF_NOISE_OK && is_zero(out, 50));
        CHECK(lnf_noise_respond(&handshake, RE, RS));
    }
    CHECK(!lnf_noise_finish(them, &send, &receive, &error, &handshake, act) && is_zero(them, 33));
}

/* A handshake in which one bit of one act may be changed on the way: that act is refused, and no other. */
static void handshake(source *from) {
    static const unsigned char LS[32] = {5}, LE[32] = {6}, RS[32] = {7}, RE[32] = {10};
    unsigned char rs33[33], one[50], two[50], three[66], them[33];
    lnf_noise_handshake initiator, responder;
    lnf_noise_cipher send, receive, other_send, other_receive;
    lnf_noise_error error;
    const unsigned act = next(from) % 4, at = next(from), bit = 1u << next(from) % 8;
    toy_encode(rs33, toy_power(3, RS));
    CHECK(lnf_noise_initiate(&initiator, one, LE, LS, rs33) && lnf_noise_respond(&responder, RE, RS));
    if (act == 1) one[at % sizeof one] ^= (unsigned char)bit;
    CHECK(lnf_noise_act_two(two, &error, &responder, one) == (act != 1));
    if (act == 1) return;
    if (act == 2) two[at % sizeof two] ^= (unsigned char)bit;
    CHECK(lnf_noise_act_three(three, &send, &receive, &error, &initiator, two) == (act != 2));
    if (act == 2) return;
    if (act == 3) three[at % sizeof three] ^= (unsigned char)bit;
    CHECK(lnf_noise_finish(them, &other_send, &other_receive, &error, &responder, three) == (act != 3));
    if (act == 3) return;
    CHECK(memcmp(send.key32, other_receive.key32, 32) == 0 && memcmp(receive.key32, other_send.key32, 32) == 0);
}

#define MAX_MESSAGES 40

static void connection(source *from) {
    static unsigned char text[4096], plain[LNF_NOISE_MAX_MESSAGE_BYTES];
    const unsigned char *pointers[MAX_MESSAGES];
    size_t lens[MAX_MESSAGES], got[8], total = 0, n_messages = next(from) % (MAX_MESSAGES + 1), count = 0, at = 0;
    lnf_noise_cipher send, receive;
    memset(&send, 0x42, sizeof send);
    send.nonce = 2 * (uint64_t)(next(from) % 2 ? 499 - next(from) % 50 : next(from));
    send.body_len = -1;
    receive = send;
    for (size_t i = 0; i < n_messages; i++) {
        lens[i] = next(from) | (next(from) & 15u) << 8;
        pointers[i] = text;
        total += lens[i] + LNF_NOISE_OVERHEAD_BYTES;
    }
    unsigned char *frames = exact(total);
    lnf_noise_encrypt(frames, &send, pointers, lens, n_messages);
    /* Where the attacker changes a byte, or nowhere. */
    size_t changed = total;
    if (next(from) % 2 && total != 0) {
        changed = (next(from) << 8 | next(from)) % total;
        frames[changed] ^= (unsigned char)(1u << next(from) % 8);
    }
    int ok = 1;
    size_t have = 0, good = 0, end = 0;
    while (good < n_messages && end + lens[good] + LNF_NOISE_OVERHEAD_BYTES <= changed)
        end += lens[good++] + LNF_NOISE_OVERHEAD_BYTES;
    while (ok && have < total) {
        have += 1 + (next(from) << 4 | next(from) >> 4);
        if (have > total || from->left == 0) have = total;
        unsigned char *part = exact_copy(frames + at, have - at);
        size_t n = 0, used = 0, done = 0;
        do {
            ok = lnf_noise_decrypt(plain, got, &n, &used, &receive, part + done, have - at - done, sizeof plain, 8);
            for (size_t i = 0; i < n; i++) CHECK(got[i] == lens[count + i]);
            count += n;
            done += used;
        } while (ok && n != 0);
        at += done;
        free(part);
    }
    CHECK(ok == (changed == total));
    CHECK(count == good);
    free(frames);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t len) {
    source from = {data, len};
    toy_secp_install();
    next_level(&from);
    switch (next(&from) % 8) {
    case 0: strangers(&from); break;
    case 1: handshake(&from); break;
    default: connection(&from);
    }
    return 0;
}
