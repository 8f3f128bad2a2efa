/* clock_win.c - the ticks since the system's start, and its counter. */
#ifdef _WIN32

#  include "clock.h"

#  include <windows.h>

int64_t
ws_clock_ms(void)
{
    return (int64_t)GetTickCount64();
}

int64_t
ws_clock_us(void)
{
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return now.QuadPart / frequency.QuadPart * 1000000 +
           now.QuadPart % frequency.QuadPart * 1000000 / frequency.QuadPart;
}

#endif
