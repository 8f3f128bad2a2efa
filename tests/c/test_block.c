/* test_block.c - references of blocks, the spare block, and both from several
 * threads: under one lock, as with a GIL, or without any lock where
 * WS_ATOMIC_REFS is 1 (to be run under ThreadSanitizer, too). */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "ws_block.h"

static void
fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
    }
}

static int
is_filled(const uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != (uint8_t)(seed * 31 + i * 7 + (i >> 8))) {
            return 0;
        }
    }
    return 1;
}

/* ---- one thread ---- */

static void
test_references(void)
{
    struct failing_mem fm;
    failing_mem_init(&fm, -1);
    static const size_t caps[] = {1, 2, 255, 256, 65536, 1000003};

    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        check_context("cap %zu", caps[i]);
        struct ws_block *b = ws_block_new(&fm.mem, caps[i]);
        CHECK(b != NULL);
        CHECK_INT(fm.alive, 1);
        CHECK_INT(b->cap, caps[i]);
        CHECK_INT(b->used, 0);
        CHECK(b->mem == &fm.mem);
        /* All of it is ours, up to the last byte. */
        fill(b->data, b->cap, 1);
        CHECK(ws_block_is_unique(b));

        for (int n = 1; n <= 100; n++) {
            ws_block_incref(b);
            CHECK(!ws_block_is_unique(b));
        }
        for (int n = 100; n >= 1; n--) {
            CHECK(!ws_block_is_unique(b));
            ws_block_decref(b);
            CHECK_INT(fm.alive, 1);
        }
        CHECK(ws_block_is_unique(b));
        CHECK(is_filled(b->data, b->cap, 1));
        ws_block_decref(b);
        CHECK_INT(fm.alive, 0);
    }
    ws_block_decref(NULL);
    CHECK_INT(fm.alive, 0);
}

static void
test_resize(void)
{
    struct failing_mem fm;
    failing_mem_init(&fm, -1);
    static const size_t caps[] = {256, 257, 1000, 300, 65536, 1, 4096, 70000};
    struct ws_block *b = ws_block_new(&fm.mem, 100);
    size_t kept = 100; /* the bytes that went through every size so far */

    fill(b->data, 100, 3);
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        check_context("to %zu", caps[i]);
        struct ws_block *moved = ws_block_resize(b, caps[i]);
        CHECK(moved != NULL);
        b = moved;
        kept = caps[i] < kept ? caps[i] : kept;
        CHECK_INT(b->cap, caps[i]);
        CHECK(ws_block_is_unique(b));
        CHECK(b->mem == &fm.mem);
        CHECK(is_filled(b->data, kept, 3));
        memset(b->data + kept, 0xEE, b->cap - kept);
        CHECK_INT(fm.alive, 1);
    }
    ws_block_decref(b);
    CHECK_INT(fm.alive, 0);
}

static void
test_no_memory(void)
{
    struct failing_mem fm;
    failing_mem_init(&fm, 0);
    CHECK(ws_block_new(&fm.mem, 100) == NULL);
    CHECK_INT(fm.alive, 0);

    failing_mem_init(&fm, 1);
    struct ws_block *b = ws_block_new(&fm.mem, 100);
    CHECK(b != NULL);
    fill(b->data, 100, 5);
    CHECK(ws_block_resize(b, 200) == NULL);
    CHECK_INT(b->cap, 100);
    CHECK(is_filled(b->data, 100, 5));
    CHECK(ws_block_is_unique(b));

    /* Sizes whose sum with the block's own head overflows: no allocator is
     * asked for the small number that would come out. */
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX - 1,
                                  SIZE_MAX - sizeof(struct ws_block) + 1};
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        check_context("SIZE_MAX - %zu", SIZE_MAX - huge[i]);
        long calls = fm.calls;
        CHECK(ws_block_new(&fm.mem, huge[i]) == NULL);
        CHECK(ws_block_resize(b, huge[i]) == NULL);
        CHECK_INT(fm.calls, calls);
        CHECK_INT(b->cap, 100);
    }
    CHECK(is_filled(b->data, 100, 5));
    ws_block_decref(b);
    CHECK_INT(fm.alive, 0);
}

static void
test_spare(void)
{
    struct failing_mem fm;
    failing_mem_init(&fm, -1);
    struct ws_spare spare = {NULL, NULL};

    CHECK(ws_spare_take(&spare, 256) == NULL);
    ws_spare_clear(&spare);
    CHECK_INT(fm.calls, 0);

    /* Given and taken: the same block, and once only. */
    struct ws_block *b = ws_block_new(&fm.mem, 256);
    b->used = 77;
    ws_spare_give(&spare, b);
    CHECK_INT(fm.alive, 1);
    CHECK(ws_spare_take(&spare, 256) == b);
    CHECK_INT(b->used, 77);
    CHECK(ws_block_is_unique(b));
    CHECK(ws_spare_take(&spare, 256) == NULL);

    /* Another size is of no use to the taker: dropped. */
    static const size_t others[] = {255, 257, 1, 65536};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        check_context("take %zu", others[i]);
        ws_spare_give(&spare, b);
        CHECK(ws_spare_take(&spare, others[i]) == NULL);
        CHECK_INT(fm.alive, 0);
        CHECK(ws_spare_take(&spare, 256) == NULL);
        b = ws_block_new(&fm.mem, 256);
    }

    /* The newer block stays, of whatever size. */
    struct ws_block *newer = ws_block_new(&fm.mem, 4096);
    ws_spare_give(&spare, b);
    ws_spare_give(&spare, newer);
    CHECK_INT(fm.alive, 1);
    CHECK(ws_spare_take(&spare, 4096) == newer);
    ws_spare_give(&spare, newer);
    ws_spare_clear(&spare);
    CHECK_INT(fm.alive, 0);
    ws_spare_clear(&spare);

    /* A block that a frame still holds can wait there; dropping the spare's
     * reference leaves the frame its bytes. */
    b = ws_block_new(&fm.mem, 256);
    fill(b->data, 256, 9);
    ws_block_incref(b);
    ws_spare_give(&spare, b);
    CHECK(ws_spare_take(&spare, 256) == b);
    CHECK(!ws_block_is_unique(b));
    ws_spare_give(&spare, b);
    CHECK(ws_spare_take(&spare, 300) == NULL);
    CHECK_INT(fm.alive, 1);
    CHECK(ws_block_is_unique(b));
    CHECK(is_filled(b->data, 256, 9));

    ws_block_incref(b);
    ws_spare_give(&spare, b);
    ws_spare_give(&spare, ws_block_new(&fm.mem, 256));
    CHECK_INT(fm.alive, 2);
    CHECK(ws_block_is_unique(b));
    ws_spare_clear(&spare);
    CHECK_INT(fm.alive, 1);
    CHECK(is_filled(b->data, 256, 9));
    ws_block_decref(b);
    CHECK_INT(fm.alive, 0);
}

static void
test_large_spare(void)
{
    struct failing_mem fm;
    failing_mem_init(&fm, -1);
    struct ws_spare spare = {NULL, NULL};

    CHECK(ws_spare_take_large(&spare, 1000) == NULL);
    struct ws_block *b = ws_block_new(&fm.mem, 100000);
    ws_spare_give_large(&spare, b);
    CHECK(ws_spare_take(&spare, 100000) == NULL);
    /* It is large enough, or it is of no use. */
    CHECK(ws_spare_take_large(&spare, 99999) == b);
    ws_spare_give_large(&spare, b);
    CHECK(ws_spare_take_large(&spare, 100001) == NULL);
    CHECK_INT(fm.alive, 0);
    /* The newest stays. */
    ws_spare_give_large(&spare, ws_block_new(&fm.mem, 70000));
    b = ws_block_new(&fm.mem, WS_SPARE_LARGE_MAX);
    ws_spare_give_large(&spare, b);
    CHECK_INT(fm.alive, 1);
    CHECK(ws_spare_take_large(&spare, 70000) == NULL); /* far too large */
    CHECK_INT(fm.alive, 1);
    CHECK(ws_spare_take_large(&spare, WS_SPARE_LARGE_MAX / 2) == b);
    /* Not what somebody holds. */
    ws_block_incref(b);
    ws_spare_give_large(&spare, b);
    CHECK(ws_spare_take_large(&spare, 1) == NULL);
    CHECK(ws_block_is_unique(b));
    ws_block_decref(b);
    /* Nor what is too large. */
    ws_spare_give_large(&spare, ws_block_new(&fm.mem, WS_SPARE_LARGE_MAX + 1));
    CHECK_INT(fm.alive, 0);
    ws_spare_give_large(&spare, ws_block_new(&fm.mem, 70000));
    ws_spare_clear(&spare);
    CHECK_INT(fm.alive, 0);
}

/* ---- several threads ----
 *
 * Each thread is a connection that reads (takes the spare block, or a new one,
 * and writes behind what others hold of it), a holder that lets go of frames
 * which other threads made, and it looks at each frame before it does.  The
 * builds differ in one thing: without atomic references every step on a block
 * happens under one lock. */

enum { THREADS = 4, BLOCK = 1024, BOXES = 8 };

static atomic_long alive;

static void *
counted_alloc(size_t size, void *user)
{
    (void)user;
    void *p = malloc(size);
    if (p != NULL) {
        atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
    }
    return p;
}

static void *
counted_resize(void *ptr, size_t size, void *user)
{
    (void)user;
    return realloc(ptr, size);
}

static void
counted_release(void *ptr, void *user)
{
    (void)user;
    if (ptr != NULL) {
        atomic_fetch_sub_explicit(&alive, 1, memory_order_relaxed);
    }
    free(ptr);
}

static const struct ws_mem counted = {counted_alloc, counted_resize,
                                      counted_release, NULL};

/* A frame on its way to another thread. */
struct parcel {
    struct ws_block *block;
    size_t off, len;
    unsigned seed;
};

/* Boxes from thread to thread.  The way there publishes the frame (release,
 * acquire); nothing comes back but the empty box, relaxed.  What makes the
 * block safe to reuse must therefore be its reference count. */
static _Atomic(struct parcel *) boxes[THREADS][THREADS][BOXES];

static struct ws_spare shared_spare;
static long rounds;

#if WS_ATOMIC_REFS
static void
lock_blocks(void)
{
}
static void
unlock_blocks(void)
{
}
#else
static pthread_mutex_t block_lock = PTHREAD_MUTEX_INITIALIZER;
static void
lock_blocks(void)
{
    pthread_mutex_lock(&block_lock);
}
static void
unlock_blocks(void)
{
    pthread_mutex_unlock(&block_lock);
}
#endif

struct worker {
    pthread_t thread;
    unsigned id;
    unsigned long bad;      /* frames that were not what was put in */
    unsigned long made;     /* frames sent away */
    unsigned long reused;   /* blocks that came out of the spare, unique */
    unsigned long appended; /* and those that somebody still held */
};

/* Looks at a frame and lets go of it. */
static void
parcel_open(struct worker *me, struct parcel *p)
{
    if (!is_filled(p->block->data + p->off, p->len, p->seed)) {
        me->bad++;
    }
    lock_blocks();
    ws_block_decref(p->block);
    unlock_blocks();
    free(p);
}

static void
worker_receive(struct worker *me)
{
    for (unsigned from = 0; from < THREADS; from++) {
        for (unsigned i = 0; i < BOXES; i++) {
            struct parcel *p = atomic_exchange_explicit(
                &boxes[from][me->id][i], NULL, memory_order_acquire);
            if (p != NULL) {
                parcel_open(me, p);
            }
        }
    }
}

static void
worker_send(struct worker *me, struct ws_block *b, unsigned seed)
{
    struct parcel *p = malloc(sizeof(*p));
    if (p == NULL) {
        abort();
    }
    p->block = b;
    p->off = b->used;
    p->len = 1 + seed % 200;
    p->seed = seed;
    fill(b->data + p->off, p->len, seed);
    b->used += p->len;
    lock_blocks();
    ws_block_incref(b);
    unlock_blocks();
    me->made++;

    unsigned to = (me->id + 1 + seed % (THREADS - 1)) % THREADS;
    _Atomic(struct parcel *) *box = &boxes[me->id][to][seed % BOXES];
    if (atomic_load_explicit(box, memory_order_relaxed) == NULL) {
        atomic_store_explicit(box, p, memory_order_release);
    }
    else {
        parcel_open(me, p);
    }
}

static void *
worker_run(void *arg)
{
    struct worker *me = arg;
    unsigned seed = me->id * 1000003u + 1;

    for (long round = 0; round < rounds; round++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned pick = seed >> 16;
        /* Now and then a taker that wants another size. */
        size_t cap = pick % 61 == 0 ? BLOCK / 2 : BLOCK;

        lock_blocks();
        struct ws_block *b = ws_spare_take(&shared_spare, cap);
        int unique = b != NULL && ws_block_is_unique(b);
        unlock_blocks();
        if (unique) {
            /* Nobody else looks at it: all of it may be written. */
            memset(b->data, (int)(pick & 0xFF), b->cap);
            b->used = 0;
            me->reused++;
        }
        else if (b != NULL) {
            me->appended++;
        }
        if (b != NULL && b->cap - b->used < 200) {
            lock_blocks();
            ws_block_decref(b);
            unlock_blocks();
            b = NULL;
        }
        if (b == NULL) {
            lock_blocks();
            b = ws_block_new(&counted, cap);
            unlock_blocks();
            if (b == NULL) {
                abort();
            }
        }
        while (b->cap - b->used >= 200 && pick % 4 != 0) {
            worker_send(me, b, pick);
            pick = pick * 5 + 1;
        }
        lock_blocks();
        if (seed % 97 == 0) {
            ws_spare_clear(&shared_spare);
        }
        ws_spare_give(&shared_spare, b);
        unlock_blocks();
        worker_receive(me);
        if (round % 16 == 0) {
            sched_yield(); /* more interleavings on few processors */
        }
    }
    return NULL;
}

static void
test_threads(void)
{
    struct worker workers[THREADS];
    memset(workers, 0, sizeof(workers));
    rounds = getenv("CHECK_QUICK") != NULL ? 300 : 8000;

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].id = i;
        CHECK_INT(
            pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]),
            0);
    }
    unsigned long made = 0, reused = 0, appended = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(workers[i].thread, NULL), 0);
        CHECK_INT(workers[i].bad, 0);
        made += workers[i].made;
        reused += workers[i].reused;
        appended += workers[i].appended;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        worker_receive(&workers[i]);
        CHECK_INT(workers[i].bad, 0);
    }
    ws_spare_clear(&shared_spare);
    CHECK_INT(atomic_load(&alive), 0);
    /* The test did meet both kinds of spare block. */
    CHECK(made > 0 && reused > 0 && appended > 0);
}

/* One block, many threads that take and drop references: it is freed once, by
 * whoever is last, and only after everybody has read it. */

static struct ws_block *common;

static void *
common_run(void *arg)
{
    unsigned long *bad = arg;
    for (long i = 0; i < rounds; i++) {
        lock_blocks();
        ws_block_incref(common);
        unlock_blocks();
        if (common->data[i % BLOCK] != 0x5A) {
            ++*bad;
        }
        lock_blocks();
        ws_block_decref(common);
        unlock_blocks();
    }
    lock_blocks();
    ws_block_decref(common);
    unlock_blocks();
    return NULL;
}

static void
test_last_thread_frees(void)
{
    int times = getenv("CHECK_QUICK") != NULL ? 5 : 50;
    rounds = 400;

    for (int t = 0; t < times; t++) {
        pthread_t threads[THREADS];
        unsigned long bad[THREADS] = {0};
        common = ws_block_new(&counted, BLOCK);
        CHECK(common != NULL);
        memset(common->data, 0x5A, BLOCK);
        for (int i = 1; i < THREADS; i++) {
            ws_block_incref(common);
        }
        for (int i = 0; i < THREADS; i++) {
            CHECK_INT(pthread_create(&threads[i], NULL, common_run, &bad[i]),
                      0);
        }
        for (int i = 0; i < THREADS; i++) {
            CHECK_INT(pthread_join(threads[i], NULL), 0);
            CHECK_INT(bad[i], 0);
        }
        CHECK_INT(atomic_load(&alive), 0);
    }
}

/* Rings that OpenSSL fills without the GIL: blocks that nobody else holds go
 * through a spare with no lock at all, in every build. */

static void *
filler_run(void *arg)
{
    unsigned long *bad = arg;
    unsigned char mine = (unsigned char)((uintptr_t)bad / sizeof(*bad));

    for (long i = 0; i < rounds; i++) {
        struct ws_block *b = i % 3 == 0
                                 ? ws_spare_take_large(&shared_spare, BLOCK)
                                 : ws_spare_take(&shared_spare, BLOCK);
        if (b == NULL) {
            b = ws_block_new(&counted, BLOCK);
        }
        if (b == NULL) {
            continue;
        }
        memset(b->data, mine, BLOCK);
        for (size_t k = 0; k < BLOCK; k += 97) {
            *bad += b->data[k] != mine;
        }
        if (i % 5 == 0) {
            ws_spare_give_large(&shared_spare, b);
        }
        else {
            ws_spare_give(&shared_spare, b);
        }
    }
    return NULL;
}

static void
test_spare_without_lock(void)
{
    pthread_t threads[THREADS];
    unsigned long bad[THREADS] = {0};
    rounds = getenv("CHECK_QUICK") != NULL ? 1000 : 100000;

    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, filler_run, &bad[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        CHECK_INT(bad[i], 0);
    }
    ws_spare_clear(&shared_spare);
    CHECK_INT(atomic_load(&alive), 0);
}

/* A block that is lent has a reference more, and is told apart. */
static void
test_lent(void)
{
    struct ws_block *b = ws_block_new(&counted, 256);
    CHECK(b != NULL);
    CHECK(!ws_block_is_lent(b));
    ws_block_lend(b);
    ws_block_lend(b);
    CHECK(ws_block_is_lent(b) && !ws_block_is_unique(b));
    ws_block_unlend(b);
    ws_block_decref(b);
    CHECK(ws_block_is_lent(b) && !ws_block_is_unique(b));
    ws_block_unlend(b);
    CHECK(!ws_block_is_lent(b) && !ws_block_is_unique(b));
    ws_block_decref(b);
    CHECK(ws_block_is_unique(b));
    ws_block_decref(b);
    CHECK_INT(atomic_load(&alive), 0);
}

static const struct test tests[] = {
    {"references", test_references},
    {"lent", test_lent},
    {"threads: a spare without a lock", test_spare_without_lock},
    {"resize", test_resize},
    {"no memory", test_no_memory},
    {"the spare block", test_spare},
    {"the large spare block", test_large_spare},
    {"threads: spare and frames", test_threads},
    {"threads: the last one frees", test_last_thread_frees},
    {NULL, NULL},
};

extern const struct suite suite_block;
const struct suite suite_block = {"block", tests};
