# picows_c.pxd - picows_c.h for Cython; docs/c-api.md has the whole story.
#
# The compiler finds it where cythonize() has include_path=[picows_c.get_include()].
# Calls raise where the header says -1 or NULL; objects are Cython's own business.

from libc.stdint cimport uint8_t, uint32_t

cdef extern from "picows_c.h":
    const int PICOWSC_API_VERSION
    const int PICOWSC_HEADROOM

    const unsigned int PICOWSC_CONTINUATION
    const unsigned int PICOWSC_TEXT
    const unsigned int PICOWSC_BINARY
    const unsigned int PICOWSC_CLOSE
    const unsigned int PICOWSC_PING
    const unsigned int PICOWSC_PONG

    const unsigned int PICOWSC_RSV1
    const unsigned int PICOWSC_RSV2
    const unsigned int PICOWSC_RSV3

    ctypedef struct PicowsC_Frame:
        const uint8_t *payload
        size_t payload_len
        size_t tail_size
        uint8_t opcode
        uint8_t fin
        uint8_t rsv
        uint8_t last_in_buffer

    # Set all of it: PicowsC_Callbacks(sizeof(PicowsC_Callbacks), on_frame, NULL, NULL).
    ctypedef struct PicowsC_Callbacks:
        size_t size
        int (*on_frame)(void *context, object transport, object frame) except -1
        int (*on_connected)(void *context, object transport) except -1
        int (*on_disconnected)(void *context, object transport) except -1

    # owner: None where the context needs nobody.
    ctypedef struct PicowsC_API:
        uint32_t version
        uint32_t size
        int (*transport_check)(object o) noexcept
        int (*frame_check)(object o) noexcept
        int (*frame_get)(object frame, PicowsC_Frame *out) except -1
        int (*send)(object transport, unsigned int opcode, const void *payload,
                    size_t len, int fin) except -1
        int (*send_in_place)(object transport, unsigned int opcode, void *payload,
                             size_t len, int fin) except -1
        int (*send_close)(object transport, unsigned int code, const char *reason,
                          size_t reason_len) except -1
        int (*listener_bind)(object listener, const PicowsC_Callbacks *callbacks,
                             void *context, object owner) except -1
        object (*listener_new)(const PicowsC_Callbacks *callbacks, void *context,
                               object owner)

    int PicowsC_Check(const PicowsC_API *api) except -1
    const PicowsC_API *PicowsC_Import() except NULL
