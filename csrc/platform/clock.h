/* clock.h - a cheap clock for what takes seconds: when input came last; and an
 * exact one for what takes microseconds: busy polling. */
#ifndef WS_CLOCK_H
#define WS_CLOCK_H

#include "ws_base.h"

/* ws_clock_ms returns milliseconds from an arbitrary moment on; never
 * backwards. It may be some 20 ms late. */
int64_t ws_clock_ms(void);

/* ws_clock_us returns microseconds from an arbitrary moment on; never
 * backwards. */
int64_t ws_clock_us(void);

#endif /* WS_CLOCK_H */
