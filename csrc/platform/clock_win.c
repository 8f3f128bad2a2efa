/* clock_win.c - the ticks since the system's start. */
#ifdef _WIN32

#  include "clock.h"

#  include <windows.h>

int64_t
ws_clock_ms(void)
{
    return (int64_t)GetTickCount64();
}

#endif
