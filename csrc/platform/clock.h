/* clock.h - a cheap clock for what takes seconds: when input came last. */
#ifndef WS_CLOCK_H
#define WS_CLOCK_H

#include "ws_base.h"

/* ws_clock_ms returns milliseconds from an arbitrary moment on; never
 * backwards. It may be some 20 ms late. */
int64_t ws_clock_ms(void);

#endif /* WS_CLOCK_H */
