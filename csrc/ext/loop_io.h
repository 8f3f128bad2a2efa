/* loop_io.h - the asyncio face's way out: through a transport of the event
 * loop, directly through its socket where nothing waits in it.
 */
#ifndef PYWS_LOOP_IO_H
#define PYWS_LOOP_IO_H

#include "way.h"

extern const struct pyws_io pyws_loop_io;

#endif /* PYWS_LOOP_IO_H */
