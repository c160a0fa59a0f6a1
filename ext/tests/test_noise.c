#include "toy_secp.h"

typedef struct {
    lnf_noise_cipher send, receive;
} side;

static const unsigned char LS[32] = {1, 2, 3}, LE[32] = {4, 5, 6}, RS[32] = {7, 8, 9}, RE[32] = {10, 11, 12};

static void public_key(unsigned char *point33, const unsigned char *secret32) {
    toy_encode(point33, toy_power(3, secret32));
}

static void connect(side *ours, side *theirs) {
    lnf_noise_handshake a, b;
    lnf_noise_error error;
    unsigned char act_one[50], act_two[50], act_three[66], rs33[33], ls33[33], got33[33];
    public_key(rs33, RS);
    public_key(ls33, LS);
    CHECK(lnf_noise_initiate(&a, act_one, LE, LS, rs33));
    CHECK(lnf_noise_respond(&b, RE, RS));
    CHECK(lnf_noise_act_two(act_two, &error, &b, act_one) && error == LNF_NOISE_OK);
    CHECK(lnf_noise_act_three(act_three, &ours->send, &ours->receive, &error, &a, act_two) && error == LNF_NOISE_OK);
    CHECK(lnf_noise_finish(got33, &theirs->send, &theirs->receive, &error, &b, act_three) && error == LNF_NOISE_OK);
    CHECK(memcmp(got33, ls33, 33) == 0);
    CHECK(is_zero((const unsigned char *)&a, sizeof a) && is_zero((const unsigned char *)&b, sizeof b));
    CHECK(memcmp(ours->send.key32, theirs->receive.key32, 32) == 0 &&
          memcmp(ours->receive.key32, theirs->send.key32, 32) == 0);
}

/* Any changed bit of an act is refused, with nothing left over. */
static void changed_acts(void) {
    lnf_noise_handshake a, b, copy;
    lnf_noise_error error;
    lnf_noise_cipher send, receive;
    unsigned char act_one[50], act_two[50], act_three[66], out[66], rs33[33], got33[33];
    public_key(rs33, RS);
    CHECK(lnf_noise_initiate(&a, act_one, LE, LS, rs33));
    CHECK(lnf_noise_respond(&b, RE, RS));
    for (size_t i = 0; i < 50; i++) {
        copy = b;
        act_one[i] ^= 4;
        CHECK(!lnf_noise_act_two(out, &error, &copy, act_one) && error != LNF_NOISE_OK);
        CHECK(is_zero(out, 50) && is_zero((const unsigned char *)&copy, sizeof copy));
        act_one[i] ^= 4;
    }
    CHECK(lnf_noise_act_two(act_two, &error, &b, act_one));
    for (size_t i = 0; i < 50; i++) {
        copy = a;
        act_two[i] ^= 4;
        CHECK(!lnf_noise_act_three(out, &send, &receive, &error, &copy, act_two) && error != LNF_NOISE_OK);
        CHECK(is_zero(out, 66) && is_zero(send.key32, 32) && is_zero((const unsigned char *)&copy, sizeof copy));
        act_two[i] ^= 4;
    }
    CHECK(lnf_noise_act_three(act_three, &send, &receive, &error, &a, act_two));
    for (size_t i = 0; i < 66; i++) {
        copy = b;
        act_three[i] ^= 4;
        CHECK(!lnf_noise_finish(got33, &send, &receive, &error, &copy, act_three));
        CHECK(error == (i == 0 ? LNF_NOISE_BAD_VERSION : i < 50 ? LNF_NOISE_BAD_CIPHERTEXT : LNF_NOISE_BAD_TAG));
        CHECK(is_zero(got33, 33) && is_zero(receive.key32, 32) && is_zero((const unsigned char *)&copy, sizeof copy));
        act_three[i] ^= 4;
    }
}

static void bad_keys(void) {
    static const unsigned char ZERO[32];
    lnf_noise_handshake a;
    unsigned char act[50], rs33[33];
    public_key(rs33, RS);
    CHECK(!lnf_noise_initiate(&a, act, ZERO, LS, rs33) && is_zero(act, 50));
    CHECK(!lnf_noise_initiate(&a, act, LE, ZERO, rs33) && is_zero(act, 50));
    rs33[0] = 4;
    CHECK(!lnf_noise_initiate(&a, act, LE, LS, rs33) && is_zero(act, 50));
    CHECK(!lnf_noise_respond(&a, ZERO, RS) && !lnf_noise_respond(&a, RE, ZERO));
}

#define MESSAGES 700 /* over one rotation of the key */

/* Frames of many sizes, read in steps of `step` bytes, each time in memory of exactly the right size. */
static void stream(size_t step) {
    static unsigned char text[3000], plain[LNF_NOISE_MAX_MESSAGE_BYTES];
    const unsigned char *pointers[MESSAGES];
    size_t lens[MESSAGES], got_lens[32], total = 0, at = 0, count = 0;
    side ours, theirs;
    connect(&ours, &theirs);
    fill(text, sizeof text, 9);
    for (size_t i = 0; i < MESSAGES; i++) {
        lens[i] = i % 50 == 49 ? 1500 + i : i * 7 % 530;
        pointers[i] = text + i;
        total += lens[i] + LNF_NOISE_OVERHEAD_BYTES;
    }
    unsigned char *frames = exact(total);
    lnf_noise_encrypt(frames, &ours.send, pointers, lens, MESSAGES);
    for (size_t have = 0; at < total;) {
        have = have + step < total ? have + step : total;
        unsigned char *part = exact_copy(frames + at, have - at);
        size_t n = 0, used = 0, done = 0;
        do {
            const unsigned char *message = plain;
            CHECK(lnf_noise_decrypt(plain, got_lens, &n, &used, &theirs.receive, part + done, have - at - done,
                                    sizeof plain, 32));
            for (size_t i = 0; i < n; i++, count++) {
                CHECK(got_lens[i] == lens[count] && memcmp(message, pointers[count], lens[count]) == 0);
                message += got_lens[i];
            }
            done += used;
        } while (n != 0);
        at += done;
        free(part);
    }
    CHECK(count == MESSAGES);
    free(frames);
}

static void changed_frames(void) {
    unsigned char frames[3 * 35], plain[8], bad[3 * 35];
    const unsigned char *pointers[3] = {(const unsigned char *)"a", (const unsigned char *)"b",
                                        (const unsigned char *)"c"};
    size_t lens[3] = {1, 1, 1}, got[3], n, used;
    side ours, theirs;
    connect(&ours, &theirs);
    lnf_noise_encrypt(frames, &ours.send, pointers, lens, 3);
    for (size_t i = 0; i < sizeof frames; i++) {
        lnf_noise_cipher copy = theirs.receive;
        memcpy(bad, frames, sizeof bad);
        bad[i] ^= 0x80;
        CHECK(!lnf_noise_decrypt(plain, got, &n, &used, &copy, bad, sizeof bad, sizeof plain, 3));
        CHECK(n == i / 35 && memcmp(plain, "abc", n) == 0 && is_zero(copy.key32, 32));
    }
}

static void test(void) {
    static const size_t STEPS[] = {17, 1000, 5000, 1u << 20};
    changed_acts();
    bad_keys();
    changed_frames();
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++) stream(STEPS[i]);
}

int main(void) {
    toy_secp_install();
    on_every_level(test);
    return 0;
}
