/* entropy_win.c - BCryptGenRandom(), the system's preferred generator. */
#ifdef _WIN32

#  include "entropy.h"

#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
/* windows.h must come first */
#  include <bcrypt.h>

int
ws_entropy_fill(void *dst, size_t n)
{
    if (n > ULONG_MAX) {
        return -1;
    }
    NTSTATUS status =
        BCryptGenRandom(NULL, dst, (ULONG)n, BCRYPT_USE_SYSTEM_PREFERRED_RNG);
    return status >= 0 ? 0 : -1;
}

#else
typedef int ws_entropy_win_is_empty;
#endif
