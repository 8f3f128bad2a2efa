/* test_entropy.c - masking keys: from the system, each once, and others in a
 * forked child. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "entropy.h"

enum { KEYS = WS_ENTROPY_POOL / 4 };

/* The pool once more, on a source that a test writes the script of. */
static int scripted_fill(void *dst, size_t n);
#define ws_entropy_init scripted_init
#define ws_entropy_key scripted_key
#define ws_entropy_fill scripted_fill
void scripted_init(struct ws_entropy *e);
int scripted_key(struct ws_entropy *e, unsigned generation, uint8_t key[4]);
#include "entropy.c"
#undef ws_entropy_init
#undef ws_entropy_key
#undef ws_entropy_fill

static int script_fails;
static unsigned script_calls;

static int
scripted_fill(void *dst, size_t n)
{
    uint8_t *at = dst;
    if (script_fails) {
        /* Half done, as a system might leave it. */
        memset(at, 0xEE, n / 2);
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        at[i] = (uint8_t)(script_calls * 101 + i);
    }
    script_calls++;
    return 0;
}

/* Every byte of a refill is handed out once, and the next refill follows. */
static void
test_pool(void)
{
    struct ws_entropy e;
    uint8_t key[4];

    scripted_init(&e);
    script_calls = 0;
    for (unsigned i = 0; i < 5 * KEYS; i++) {
        check_context("key %u", i);
        CHECK_INT(scripted_key(&e, 7, key), 0);
        CHECK_INT(script_calls, i / KEYS + 1);
        for (unsigned k = 0; k < 4; k++) {
            CHECK_INT(key[k], (uint8_t)(i / KEYS * 101 + i % KEYS * 4 + k));
        }
    }
}

static void
test_generations(void)
{
    struct ws_entropy e;
    uint8_t key[4];
    static const unsigned generations[] = {0, 0, 1, 1, 0, 5, 0xFFFFFFFF, 0};
    static const unsigned calls[] = {1, 1, 2, 2, 3, 4, 5, 6};

    scripted_init(&e);
    script_calls = 0;
    for (size_t i = 0; i < 8; i++) {
        check_context("step %zu", i);
        CHECK_INT(scripted_key(&e, generations[i], key), 0);
        CHECK_INT(script_calls, calls[i]);
    }
}

static void
test_no_entropy(void)
{
    struct ws_entropy e;
    uint8_t key[4] = {1, 2, 3, 4};

    script_calls = 0;
    scripted_init(&e);
    script_fails = 1;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(scripted_key(&e, 0, key), -1);
        CHECK_BYTES(key, "\1\2\3\4", 4);
    }
    script_fails = 0;
    CHECK_INT(scripted_key(&e, 0, key), 0);
    CHECK_BYTES(key, "\0\1\2\3", 4);

    /* Another generation, and no entropy for it: the old pool is not the way
     * out, not even with the old number. */
    script_fails = 1;
    CHECK_INT(scripted_key(&e, 1, key), -1);
    CHECK_INT(scripted_key(&e, 0, key), -1);
    CHECK_BYTES(key, "\0\1\2\3", 4);
    script_fails = 0;
    CHECK_INT(scripted_key(&e, 0, key), 0);
    CHECK_INT(key[0], 101);
}

/* From here on the real source. */

static void
take(struct ws_entropy *e, unsigned generation, uint8_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(ws_entropy_key(e, generation, keys + 4 * i), 0);
    }
}

static void
test_fill(void)
{
    static const size_t sizes[] = {1, 2, 3, 4, 16, 255, 256, 257, 4096, 100000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        uint8_t *a = guard_new(n), *b = guard_new(n);
        check_context("%zu bytes", n);
        CHECK_INT(ws_entropy_fill(a, n), 0);
        CHECK_INT(ws_entropy_fill(b, n), 0);
        if (n >= 16) {
            CHECK(memcmp(a, b, n) != 0);
        }
        if (n >= 4096) {
            /* All of it was written, and each value of a byte occurs. */
            unsigned seen[256] = {0}, zeros = 0;
            for (size_t k = 0; k < n; k++) {
                seen[a[k]]++;
                zeros = a[k] == 0 ? zeros + 1 : 0;
                CHECK(zeros < 12);
            }
            for (int v = 0; v < 256 && n > 10000; v++) {
                CHECK(seen[v] > 0);
            }
        }
        guard_free(a, n);
        guard_free(b, n);
    }
    CHECK_INT(ws_entropy_fill(NULL, 0), 0);
}

static void
test_keys(void)
{
    enum { MANY = 1000 };
    static uint8_t keys[4 * MANY];
    struct ws_entropy e;
    unsigned equal = 0;

    ws_entropy_init(&e);
    take(&e, 0, keys, MANY);
    for (size_t i = 0; i < MANY; i++) {
        for (size_t j = 0; j < i; j++) {
            equal += memcmp(keys + 4 * i, keys + 4 * j, 4) == 0;
        }
    }
    /* 4 bytes may repeat by chance; three times in a thousand they do not
     * (less than one run in 10^12). */
    CHECK(equal < 3);

    /* Two connections, two streams. */
    struct ws_entropy other;
    uint8_t a[4 * 8], b[4 * 8];
    ws_entropy_init(&e);
    ws_entropy_init(&other);
    take(&e, 0, a, 8);
    take(&other, 0, b, 8);
    CHECK(memcmp(a, b, sizeof(a)) != 0);

    /* Another generation goes on with other bytes than the pool's. */
    struct ws_entropy copy = e;
    take(&e, 1, a, 8);
    take(&copy, 0, b, 8);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
}

/* The next 8 keys of a forked child that has |generation|. */
static void
child_keys(struct ws_entropy *e, unsigned generation, uint8_t keys[32])
{
    int ends[2];
    CHECK_INT(pipe(ends), 0);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        uint8_t mine[32];
        take(e, generation, mine, 8);
        ssize_t n = write(ends[1], mine, sizeof(mine));
        _exit(n == (ssize_t)sizeof(mine) ? 0 : 1);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_INT(read(ends[0], keys, 32), 32);
    close(ends[0]);
    close(ends[1]);
}

static void
test_fork(void)
{
    struct ws_entropy e;
    uint8_t first[4], parent[32], child[32], other[32], naive[32];

    ws_entropy_init(&e);
    take(&e, 3, first, 1);
    child_keys(&e, 4, child);
    child_keys(&e, 5, other);
    child_keys(&e, 3, naive);
    take(&e, 3, parent, 8);
    CHECK(memcmp(parent, child, 32) != 0);
    CHECK(memcmp(parent, other, 32) != 0);
    CHECK(memcmp(child, other, 32) != 0);
    /* Why the generation must change: a child that keeps it repeats its
     * parent. */
    CHECK_BYTES(naive, parent, 32);
}

static const struct test tests[] = {
    {"the pool", test_pool},
    {"generations", test_generations},
    {"no entropy", test_no_entropy},
    {"the system's entropy", test_fill},
    {"keys differ", test_keys},
    {"a forked child has other keys", test_fork},
    {NULL, NULL},
};

extern const struct suite suite_entropy;
const struct suite suite_entropy = {"entropy", tests};
