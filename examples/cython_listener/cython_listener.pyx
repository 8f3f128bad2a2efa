# cython: language_level=3, freethreading_compatible=True
"""Two listeners in Cython: no Python code runs for a frame.

    import cython_listener
    server = await ws_create_server(lambda request: cython_listener.echo(), ...)

    book = cython_listener.Best()
    await ws_connect(book.listener, url, assemble_messages=True)
    book.count, book.best
"""

from libc.string cimport memcpy

from picows_c cimport (
    PICOWSC_BINARY,
    PicowsC_API,
    PicowsC_Callbacks,
    PicowsC_Frame,
    PicowsC_Import,
)

# The table is constant and holds no object, so that all interpreters may share it.
cdef const PicowsC_API *api = PicowsC_Import()


# ---- echo ----

cdef int echo_frame(void *context, object transport, object frame) except -1:
    cdef PicowsC_Frame f
    api.frame_get(frame, &f)
    if f.opcode <= PICOWSC_BINARY:
        api.send(transport, f.opcode, f.payload, f.payload_len, f.fin)
    return 0


def echo():
    """Return a listener that answers each data frame with itself."""
    cdef PicowsC_Callbacks callbacks = PicowsC_Callbacks(
        sizeof(PicowsC_Callbacks), echo_frame, NULL, NULL
    )
    return api.listener_new(&callbacks, NULL, None)


# ---- market data ----

cdef struct Quote:
    double bid
    double ask


cdef class Best:
    """The best bid and ask of binary quotes: two doubles a message, in this machine's order."""

    cdef Quote quote
    cdef readonly unsigned long long count
    cdef readonly int open

    @property
    def best(self):
        """The highest bid and the lowest ask."""
        return self.quote.bid, self.quote.ask

    def listener(self):
        """Return a new listener; it keeps this object, which is its context, alive."""
        cdef PicowsC_Callbacks callbacks = PicowsC_Callbacks(
            sizeof(PicowsC_Callbacks), best_frame, best_connected, best_disconnected
        )
        return api.listener_new(&callbacks, <void *>self, self)


cdef int best_frame(void *context, object transport, object frame) except -1:
    cdef Best self = <Best>context
    cdef PicowsC_Frame f
    cdef Quote quote
    api.frame_get(frame, &f)
    if f.opcode != PICOWSC_BINARY:
        return 0
    if f.payload_len != sizeof(quote):
        raise ValueError(f"a quote has {sizeof(quote)} bytes, not {f.payload_len}")
    memcpy(&quote, f.payload, sizeof(quote))
    if self.count == 0 or quote.bid > self.quote.bid:
        self.quote.bid = quote.bid
    if self.count == 0 or quote.ask < self.quote.ask:
        self.quote.ask = quote.ask
    self.count += 1
    return 0


cdef int best_connected(void *context, object transport) except -1:
    (<Best>context).open += 1
    return 0


cdef int best_disconnected(void *context, object transport) except -1:
    (<Best>context).open -= 1
    return 0
