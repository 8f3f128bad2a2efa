/* picows_c.h - the C API of picows_c: WebSocket frames in and out of an
 * extension module without a Python call.  docs/c-api.md has the whole story.
 *
 * PicowsC_Import() returns a table of functions, to be kept in your module's
 * state.  The table is constant, holds no Python object and stays where it is
 * for as long as the process lives, so all interpreters may share the pointer.
 *
 * The caller of any function is attached to its interpreter (holds the GIL).
 * Errors: -1 or NULL with a Python exception set, from you to us as well.
 * Objects are borrowed, in both directions, unless it says "new reference".
 */
#ifndef PICOWS_C_H
#define PICOWS_C_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when a module that was compiled with an older header cannot go on.
 * New functions come at the table's end, and do not change it. */
#define PICOWSC_API_VERSION 1

/* Opcodes (RFC 6455, 5.2). */
#define PICOWSC_CONTINUATION 0x0u
#define PICOWSC_TEXT 0x1u
#define PICOWSC_BINARY 0x2u
#define PICOWSC_CLOSE 0x8u
#define PICOWSC_PING 0x9u
#define PICOWSC_PONG 0xAu

/* Reserved bits of a received frame (5.2). */
#define PICOWSC_RSV1 0x40u
#define PICOWSC_RSV2 0x20u
#define PICOWSC_RSV3 0x10u

/* How many writable bytes send_in_place() needs before the payload. */
#define PICOWSC_HEADROOM 14

/* What a WSFrame has. */
typedef struct {
    /* payload points to payload_len bytes, which never change; valid for as
     * long as the frame object is held, on any thread.  Never NULL. */
    const uint8_t *payload;
    size_t payload_len;
    /* tail_size is how many bytes had been received after this frame. */
    size_t tail_size;
    uint8_t opcode;
    uint8_t fin;
    uint8_t rsv;
    /* last_in_buffer is 1 where nothing more will be delivered from what has
     * been received so far. */
    uint8_t last_in_buffer;
} PicowsC_Frame;

/* The functions that a listener carries; NULL where there is none.  |context|
 * is what listener_bind() was given.  All of them run on the thread of the
 * connection's loop and return 0, or -1 with an exception set, which counts as
 * that of the Python callback of the same name: on_ws_error() hears of it, and
 * it ends the connection where disconnect_on_exception says so. */
typedef struct {
    /* size is sizeof(PicowsC_Callbacks). */
    size_t size;
    /* on_frame takes the place of on_ws_frame(); it must be there.  The frame
     * may be kept: Py_INCREF() it. */
    int (*on_frame)(void *context, PyObject *transport, PyObject *frame);
    /* The same for on_ws_connected() and on_ws_disconnected(). */
    int (*on_connected)(void *context, PyObject *transport);
    int (*on_disconnected)(void *context, PyObject *transport);
} PicowsC_Callbacks;

typedef struct {
    uint32_t version;
    /* size is that of the table that is installed. */
    uint32_t size;

    /* transport_check and frame_check return 1 for a WSTransport and a WSFrame
     * and 0 for anything else, NULL included.  They cannot fail. */
    int (*transport_check)(PyObject *o);
    int (*frame_check)(PyObject *o);

    /* frame_get stores what |frame| has in |*out|; on any thread.  -1 with
     * TypeError: it is no WSFrame. */
    int (*frame_get)(PyObject *frame, PicowsC_Frame *out);

    /* send sends one frame, and is done with |payload| when it returns.
     * |payload| may be NULL where |len| is 0.  Nothing happens once CLOSE was
     * sent or the connection is lost.  -1 with TypeError (no WSTransport),
     * RuntimeError (another thread than the connection's), ValueError (CLOSE
     * or a reserved opcode, fragments out of order, a control frame that is
     * too long or not final), MemoryError, OSError. */
    int (*send)(PyObject *transport, unsigned opcode, const void *payload,
                size_t len, int fin);

    /* send_in_place does the same without a copy: the PICOWSC_HEADROOM bytes
     * before |payload| are writable and are overwritten, and a client masks
     * the payload where it lies, so that its content is lost. */
    int (*send_in_place)(PyObject *transport, unsigned opcode, void *payload,
                         size_t len, int fin);

    /* send_close begins the closing handshake (7.1.2); the second call does
     * nothing.  |code| 0 sends an empty CLOSE; |reason| is UTF-8, at most 123
     * bytes, and may be NULL where |reason_len| is 0.  -1 as send(), with
     * ValueError for a code or reason that may not be sent. */
    int (*send_close)(PyObject *transport, unsigned code, const char *reason,
                      size_t reason_len);

    /* listener_bind has the connections that |listener|, a WSListener, will
     * have call |callbacks| with |context|.  The struct is copied.  |owner|
     * is the object whose life |context| depends on: it is held with the
     * functions, and Python's collector sees it; NULL where nothing needs to
     * be held.  -1 with TypeError (no WSListener) or ValueError (|callbacks|
     * has no on_frame, or a size that is not known). */
    int (*listener_bind)(PyObject *listener, const PicowsC_Callbacks *callbacks,
                         void *context, PyObject *owner);

    /* listener_new returns a plain WSListener, a new reference, bound like
     * that. */
    PyObject *(*listener_new)(const PicowsC_Callbacks *callbacks, void *context,
                              PyObject *owner);
} PicowsC_API;

/* PicowsC_Check returns 0 where a module that was compiled with this header can
 * use |api|, else -1 with ImportError. */
static inline int
PicowsC_Check(const PicowsC_API *api)
{
    if (api->version != PICOWSC_API_VERSION) {
        PyErr_Format(PyExc_ImportError,
                     "the installed picows_c has version %u of its C API, and "
                     "this module was compiled for version %u: compile it "
                     "again with the picows_c that is installed",
                     (unsigned)api->version, (unsigned)PICOWSC_API_VERSION);
        return -1;
    }
    if (api->size < sizeof(PicowsC_API)) {
        PyErr_Format(PyExc_ImportError,
                     "the installed picows_c is older than the one that this "
                     "module was compiled with (its C API has %u bytes, not "
                     "%u): install a newer picows_c",
                     (unsigned)api->size, (unsigned)sizeof(PicowsC_API));
        return -1;
    }
    return 0;
}

/* PicowsC_Import imports picows_c and returns the table; NULL with ImportError,
 * or whatever the import raised. */
static inline const PicowsC_API *
PicowsC_Import(void)
{
    const PicowsC_API *api =
        (const PicowsC_API *)PyCapsule_Import("picows_c._core._C_API", 0);
    return api == NULL || PicowsC_Check(api) < 0 ? NULL : api;
}

#ifdef __cplusplus
}
#endif

#endif /* PICOWS_C_H */
