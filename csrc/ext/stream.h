/* stream.h - Stream: a connected socket on a poller, shaped like
 * asyncio.Transport, plain or with a TLS filter.
 * Who owns what: stream_state.h.
 */
#ifndef PYWS_STREAM_H
#define PYWS_STREAM_H

#include "stream_state.h"

/* pyws_stream_serve does what |bits| say, and goes on with input in user space;
 * |*got|: the socket had some.  1 where input in user space is left, 0, or -1
 * with KeyboardInterrupt or SystemExit. */
int pyws_stream_serve(StreamObject *s, unsigned bits,
                      struct pyws_budget *budget, int *got);

/* pyws_stream_is_busy returns whether a call of the stream is on the stack,
 * which a nested event loop runs inside of: pyws_stream_serve_busy() sends what
 * waits then, and mutes it.  It hears what came meanwhile when
 * pyws_stream_back() is called at that one's end.  0, or -1 with an exception
 * set. */
int pyws_stream_is_busy(const StreamObject *s);
int pyws_stream_serve_busy(StreamObject *s, unsigned bits);
int pyws_stream_back(StreamObject *s);

/* pyws_stream_abandon closes the descriptor and drops everything without a
 * callback: the loop is gone, or this is a forked child (|shut| 0 then). */
void pyws_stream_abandon(StreamObject *s, int shut);

/* For the stream's other files.  All return 0, or -1 with an exception set.
 * pyws_stream_check raises RuntimeError off the loop's thread. */
int pyws_stream_check(StreamObject *s, const char *method);

/* pyws_stream_is_reading returns whether input is taken now;
 * pyws_stream_update tells the poller what to watch for. */
int pyws_stream_is_reading(const StreamObject *s);
int pyws_stream_update(StreamObject *s);

/* pyws_stream_pend has input in user space served in the next turn, or by a
 * nested event loop before that. */
int pyws_stream_pend(StreamObject *s);

/* pyws_stream_send_raw sends bytes past the filter, or queues them. */
int pyws_stream_send_raw(StreamObject *s, const uint8_t *p, size_t n);

/* pyws_stream_waiting returns how many bytes wait, in the filter too. */
size_t pyws_stream_waiting(const StreamObject *s);

/* pyws_stream_queued follows up on bytes that wait: write interest, the high
 * watermark; pyws_stream_drained on fewer of them: the low one. */
int pyws_stream_queued(StreamObject *s);
int pyws_stream_drained(StreamObject *s);

/* pyws_stream_flushed does what was to follow the last byte: the end. */
int pyws_stream_flushed(StreamObject *s);

/* pyws_stream_write_eof ends our side behind what waits; reading goes on. */
int pyws_stream_write_eof(StreamObject *s);

/* pyws_stream_close sends what waits, then ends the connection. */
int pyws_stream_close(StreamObject *s);

/* pyws_stream_lost ends it now; |exc| is for connection_lost(), which
 * pyws_stream_tell_lost() calls in the connection's context, or for whoever
 * waits for a TLS handshake: pyws_stream_tell_failed(). */
int pyws_stream_lost(StreamObject *s, PyObject *exc);
PyObject *pyws_stream_tell_lost(StreamObject *s, PyObject *exc);
PyObject *pyws_stream_tell_failed(StreamObject *s, PyObject *exc);

int pyws_stream_lost_errno(StreamObject *s, int error);

/* pyws_stream_fatal ends it for the exception that is set: -1 with
 * KeyboardInterrupt or SystemExit, 0 where the loop has been told of another;
 * pyws_stream_report tells it of |raised|, which is taken over. */
int pyws_stream_fatal(StreamObject *s, const char *message);
void pyws_stream_report(StreamObject *s, PyObject *raised, const char *message);

/* pyws_stream_enter enters the connection's context; a copy of it where it is
 * entered already, by who runs a nested event loop.  Returns what
 * pyws_stream_leave() takes, which leaves an exception as it is; NULL with one
 * set. */
PyObject *pyws_stream_enter(StreamObject *s);
void pyws_stream_leave(StreamObject *s, PyObject *context);

/* pyws_stream_forget drops protocol, loop and filter. */
void pyws_stream_forget(StreamObject *s);

/* pyws_stream_wants_input returns whether the parse loop would take more. */
int pyws_stream_wants_input(const StreamObject *s);

/* pyws_stream_give gives bytes to a protocol that is not ours. */
int pyws_stream_give(StreamObject *s, const uint8_t *p, size_t n);

/* pyws_stream_eof says that the peer's side has ended, pyws_stream_no_input
 * that recv() gave |result|, which is no number of bytes. */
int pyws_stream_eof(StreamObject *s);
int pyws_stream_no_input(StreamObject *s, ptrdiff_t result);

/* With a TLS filter, stream_tls.c.  pyws_stream_write_tls encrypts and sends
 * bytes, pyws_stream_send_tls a frame; what the system refuses waits. */
int pyws_stream_write_tls(StreamObject *s, const uint8_t *p, size_t n);
int pyws_stream_send_tls(StreamObject *s, const struct pyws_out *out);

/* pyws_stream_end_tls sends close_notify where that can be, or notes that it is
 * owed; the time for what follows is bounded from pyws_stream_await_tls_end()
 * on. */
int pyws_stream_end_tls(StreamObject *s);
int pyws_stream_await_tls_end(StreamObject *s);

/* pyws_stream_read_tls reads once from the socket, and decrypts;
 * pyws_stream_pump_tls decrypts all that is there, then has it parsed. */
int pyws_stream_read_tls(StreamObject *s, struct pyws_budget *budget, int *got);
int pyws_stream_pump_tls(StreamObject *s, struct pyws_budget *budget);

/* pyws_stream_retry_tls encrypts and sends what was written from inside of the
 * busy filter. */
int pyws_stream_retry_tls(StreamObject *s);

/* The way out of a WSTransport on a stream. */
extern const struct pyws_io pyws_stream_io;

/* pyws_stream_add_type is called once from the module's exec. */
int pyws_stream_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_STREAM_H */
