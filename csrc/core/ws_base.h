/* ws_base.h - compiler shims and byte order, the only file of the core that
 * knows which compiler and which processor it meets.
 *
 * Includes nothing of the project.  Every other core header includes it.
 */
#ifndef WS_BASE_H
#define WS_BASE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#  include <intrin.h>
#endif

/* The processor.  WS_ARCH_X86 promises SSE2, WS_ARCH_AARCH64 promises NEON. */
#if defined(__x86_64__) || defined(_M_X64)
#  define WS_ARCH_X86 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#  define WS_ARCH_AARCH64 1
#endif

/* WS_TARGET("avx2") lets one function use an instruction set that the build
 * flags do not name.  MSVC needs no such permission. */
#if defined(__GNUC__) || defined(__clang__)
#  define WS_TARGET(isa) __attribute__((target(isa)))
#  define WS_LIKELY(x) __builtin_expect(!!(x), 1)
#  define WS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#  define WS_INLINE static inline __attribute__((always_inline))
/* (GCC leaves out calls of functions that do nothing but this, unless it is
 * told that something happens.) */
#  define WS_PREFETCH(p)               \
    do {                               \
      __builtin_prefetch(p);           \
      __asm__ volatile("" : : "r"(p)); \
    } while (0)
#else
#  define WS_TARGET(isa)
#  define WS_LIKELY(x) (x)
#  define WS_UNLIKELY(x) (x)
#  define WS_INLINE static __forceinline
#  define WS_PREFETCH(p) ((void)(p))
#endif

/* ws_prefetch asks for |n| bytes at |p| that will soon be needed.  They need
 * not be there. */
static inline void
ws_prefetch(const void *p, size_t n)
{
    const char *at = (const char *)p;
    for (size_t i = 0; i < n; i += 64) {
        WS_PREFETCH(at + i);
    }
    WS_PREFETCH(at + n - 1);
}

/* WS_ASSERT states an invariant; NDEBUG builds do not evaluate it. */
#define WS_ASSERT(cond) assert(cond)

/* Network byte order is big-endian (RFC 6455, 5.2).  Single bytes are put
 * together by shifts: right on every machine, at any alignment; compilers turn
 * each function into one load or store and a swap. */

/* ws_load_be16 returns the 16-bit number stored at |p|. */
static inline uint16_t
ws_load_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

/* ws_load_be64 returns the 64-bit number stored at |p|. */
static inline uint64_t
ws_load_be64(const uint8_t *p)
{
    return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 | (uint64_t)p[2] << 40 |
           (uint64_t)p[3] << 32 | (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 |
           (uint64_t)p[6] << 8 | (uint64_t)p[7];
}

/* ws_store_be16 stores |v| at |p| and returns the byte after it. */
static inline uint8_t *
ws_store_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

/* ws_store_be64 stores |v| at |p| and returns the byte after it. */
static inline uint8_t *
ws_store_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (56 - 8 * i));
    }
    return p + 8;
}

/* ws_load64 and ws_store64 move 8 bytes in the machine's own order, at any
 * alignment. */
static inline uint64_t
ws_load64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void
ws_store64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

#endif /* WS_BASE_H */
