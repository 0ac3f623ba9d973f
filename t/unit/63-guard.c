/*
 * Data between hosts (ring/guard.h): the bytes of AES-256-GCM as libsodium makes
 * them, in whatever pieces, by libcrypto and by wide instructions; what is
 * changed, repeated, left out or swapped; the next key.
 */
#include "lib/tap.h"

#include "ring/gcm.h"
#include "ring/guard.h"

#include <sodium.h>

#define MOST 70000

static unsigned char key[CRYPT_KEY], head[48];
static unsigned char data[MOST], out[MOST], want[MOST];

static void next_key(unsigned char k[CRYPT_KEY])
{
    unsigned char next[CRYPT_KEY];

    crypto_generichash(next, sizeof(next), (const unsigned char *)"next", 4, k,
                       CRYPT_KEY);
    memcpy(k, next, sizeof(next));
}

/* Message count of a direction, by libsodium. */
static void reference(const unsigned char k[CRYPT_KEY], uint64_t count,
                      bool encrypts, size_t n, unsigned char tag[GUARD_TAG])
{
    static unsigned char both[sizeof(head) + MOST];
    unsigned char nonce[crypto_aead_aes256gcm_NPUBBYTES] = {0}, none[1];

    for (int i = 0; i < 8; i++)
        nonce[4 + i] = (unsigned char)(count >> (8 * i));
    memcpy(both, head, sizeof(head));
    memcpy(both + sizeof(head), data, n);
    crypto_aead_aes256gcm_encrypt_detached(
        encrypts ? want : none, tag, NULL, data, encrypts ? n : 0, both,
        sizeof(head) + (encrypts ? 0 : n), NULL, nonce, k);
}

/* In pieces of step, or at once. */
static void add(struct guard *g, const unsigned char *from, unsigned char *to,
                size_t n, size_t step)
{
    for (size_t at = 0; at < n; at += step)
        guard_add(g, from + at, to + at, n - at < step ? n - at : step);
}

static void test_bytes(bool encrypts)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, MOST};
    static const size_t steps[] = {1, 7, 64, 4099, MOST};
    unsigned char k[CRYPT_KEY], tag[GUARD_TAG], ref[GUARD_TAG];
    struct guard *a = guard_new(key, encrypts, false);
    struct guard *b = guard_new(key, encrypts, true);
    uint64_t count = 0;
    int bad = 0, refused = 0;

    memcpy(k, key, sizeof(k));
    next_key(k);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t j = 0; j < sizeof(steps) / sizeof(steps[0]); j++) {
            size_t n = sizes[i];
            reference(k, count++, encrypts, n, ref);
            guard_begin(a, head, sizeof(head));
            add(a, data, out, n, steps[j]);
            guard_end(a, tag);
            bad += memcmp(tag, ref, sizeof(tag)) != 0;
            bad += encrypts && memcmp(out, want, n) != 0;
            if (!encrypts)
                memcpy(out, data, n);
            guard_begin(b, head, sizeof(head));
            add(b, out, out, n, steps[j] / 2 + 1);
            refused += guard_check(b, tag) < 0;
            bad += memcmp(out, data, n) != 0;
        }
    is_int(bad, 0, "%s: the bytes of libsodium, in pieces of any size",
           encrypts ? "encrypted" : "tags");
    is_int(refused, 0, "which are taken");
    guard_free(a);
    guard_free(b);
}

/* One message by each of the two ways to compute it, additional data of aad bytes
 * and text of the rest, in pieces that end anywhere. */
static int one_way(const struct gcm_kind *kind, bool opens, uint32_t *seed,
                   size_t aad, size_t n, unsigned char *to,
                   unsigned char tag[GCM_TAG])
{
    const unsigned char *from = opens ? want : data;
    struct gcm *g = kind->make(opens);
    unsigned char nonce[GCM_NONCE] = {3, (unsigned char)n};
    bool right = true;

    kind->key(g, key);
    kind->begin(g, nonce);
    for (size_t at = 0, m; at < n; at += m) {
        *seed = *seed * 1664525 + 1013904223;
        m = 1 + (*seed >> 8) % (*seed >> 31 ? 40 : 5000);
        if (at < aad)
            m = m < aad - at ? m : aad - at;
        else
            m = m < n - at ? m : n - at;
        if (at < aad)
            kind->aad(g, data + at, m);
        else
            kind->text(g, to + at, from + at, m);
    }
    if (opens)
        right = kind->check(g, tag);
    else
        kind->tag(g, tag);
    kind->free(g);
    return right ? 0 : -1;
}

static void test_two_ways(void)
{
    static const char *const names[] = {"libcrypto", "libipsec_mb"};
    const struct gcm_kind *kind[] = {&gcm_libcrypto, gcm_intel()};
    unsigned char tag[2][GCM_TAG];
    uint32_t seed = 1;
    int bad = 0, refused = 0, taken = 0;

    if (!kind[1]) {
        skip(3, "libipsec_mb: not built in");
        return;
    }
    for (size_t n = 0; n < 40000; n = n < 3000 ? n + 7 : n * 2 + 1) {
        size_t aad = n % 5 == 0 ? 0 : n % 5 == 1 ? n : n / 3;

        if (aad < n && aad > GCM_HEAD)
            aad = n % (GCM_HEAD + 1);
        one_way(kind[0], false, &seed, aad, n, want, tag[0]);
        one_way(kind[1], false, &seed, aad, n, out, tag[1]);
        bad += memcmp(tag[0], tag[1], GCM_TAG) != 0 ||
               memcmp(out + aad, want + aad, n - aad) != 0;
        for (int k = 0; k < 2; k++) {
            refused += one_way(kind[k], true, &seed, aad, n, out, tag[0]) < 0 ||
                       memcmp(out + aad, data + aad, n - aad) != 0;
            tag[1][n % GCM_TAG] ^= 1;
            taken += one_way(kind[k], true, &seed, aad, n, out, tag[1]) == 0;
            tag[1][n % GCM_TAG] ^= 1;
        }
    }
    is_int(bad, 0, "the bytes of %s are those of %s", names[1], names[0]);
    is_int(refused, 0, "each takes what the other sends");
    is_int(taken, 0, "and no other tag");
}

enum harm {
    NOTHING,
    DATA,
    HEAD,
    TAG,
    SHORTER,
    REPEATED,
    LEFT_OUT,
    OTHER_KEY,
    OTHER_WAY,
    HARMS
};

/* The second of two messages, 1000 bytes, comes with that harm done to it. */
static int hear(enum harm harm, bool encrypts)
{
    unsigned char k[CRYPT_KEY], tag[GUARD_TAG], h[sizeof(head)];
    struct guard *a, *b;
    size_t n = 1000;
    int r;

    memcpy(k, key, sizeof(k));
    k[0] ^= harm == OTHER_KEY;
    a = guard_new(key, encrypts, false);
    b = guard_new(k, harm == OTHER_WAY ? !encrypts : encrypts, true);
    for (int i = 0; i < 2; i++) {
        guard_begin(a, head, sizeof(head));
        memcpy(out, data, n);
        guard_add(a, data, out, n);
        guard_end(a, tag);
        if (i == 0 && (harm == LEFT_OUT || harm == OTHER_KEY))
            continue;
        if (i == 1 && harm == REPEATED)
            continue; /* the first is there still, below */
        if (i == 1)
            break;
        guard_begin(b, head, sizeof(head));
        guard_add(b, out, out, n);
        if (guard_check(b, tag) < 0 && harm != OTHER_WAY)
            return -2;
    }
    memcpy(h, head, sizeof(h));
    h[9] ^= harm == HEAD;
    out[999] ^= harm == DATA ? 1 : 0;
    tag[15] ^= harm == TAG ? 0x80 : 0;
    if (harm == REPEATED) {
        /* What was said first, said again. */
        struct guard *c = guard_new(key, encrypts, false);
        guard_begin(c, head, sizeof(head));
        memcpy(out, data, n);
        guard_add(c, data, out, n);
        guard_end(c, tag);
        guard_free(c);
    }
    guard_begin(b, h, sizeof(h));
    guard_add(b, out, out, harm == SHORTER ? n - 1 : n);
    r = guard_check(b, tag);
    guard_free(a);
    guard_free(b);
    return r;
}

static void test_harm(void)
{
    static const char *const names[HARMS] = {
        "as it was sent",     "data changed", "head changed",
        "tag changed",        "shorter",      "repeated",
        "one before missing", "another key",  "encrypted or not"};

    for (int e = 0; e < 2; e++)
        for (int h = 0; h < HARMS; h++)
            is_int(hear((enum harm)h, e == 1), h == NOTHING ? 0 : -1,
                   "a message %s, %s", e ? "encrypted" : "with a tag",
                   names[h]);
}

/* The key lasts for so many messages, and both ends change it at the same. */
static void test_next_key(void)
{
    unsigned char k[CRYPT_KEY], tag[GUARD_TAG], ref[GUARD_TAG];
    struct guard *a = guard_new(key, false, false);
    struct guard *b = guard_new(key, false, true);
    uint64_t n = GUARD_MESSAGES;
    int refused = 0;
    bool there = crypto_aead_aes256gcm_is_available() != 0;

    memcpy(k, key, sizeof(k));
    next_key(k);
    for (uint64_t i = 0; i < n + 2; i++) {
        guard_begin(a, head, sizeof(head));
        guard_end(a, tag);
        guard_begin(b, head, sizeof(head));
        refused += guard_check(b, tag) < 0;
        if (i == n)
            next_key(k);
        if (i < n - 1 || !there)
            continue;
        reference(k, i, false, 0, ref);
        ok(!memcmp(tag, ref, sizeof(tag)), "message %llu has the %s key",
           (unsigned long long)i, i < n ? "first" : "next");
    }
    is_int(refused, 0, "both ends change it together");
    guard_free(a);
    guard_free(b);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    crypt_random(key, sizeof(key));
    crypt_random(head, sizeof(head));
    crypt_random(data, sizeof(data));
    if (crypto_aead_aes256gcm_is_available()) {
        test_bytes(false);
        test_bytes(true);
    } else {
        skip(4, "aes: libsodium wants instructions for it");
    }
    test_two_ways();
    test_harm();
    test_next_key();
    return done_testing();
}
