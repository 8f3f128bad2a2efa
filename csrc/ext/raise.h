/* raise.h - exceptions that more than one function raises, or that take more
 * than a line; what one function refuses has its text there. */
#ifndef PYWS_RAISE_H
#define PYWS_RAISE_H

#include "compat.h"

/* pyws_raise_err raises what a WS_ERR_* of our own doing stands for:
 * MemoryError for WS_ERR_NOMEM, ValueError otherwise.  Returns NULL. */
PyObject *pyws_raise_err(int err);

/* pyws_raise_thread raises RuntimeError: |method| of |type_name| was called on
 * another thread than |owner|. */
PyObject *pyws_raise_thread(const char *type_name, const char *method,
                            unsigned long owner);

/* pyws_raise_payload raises TypeError: |o| cannot be a payload. */
PyObject *pyws_raise_payload(PyObject *o);

/* pyws_raise_not_close raises ValueError: |method| needs a CLOSE frame. */
PyObject *pyws_raise_not_close(const char *method);

/* pyws_raise_offset raises ValueError: a payload cannot begin at |offset| of a
 * buffer of |len| bytes. */
PyObject *pyws_raise_offset(Py_ssize_t offset, Py_ssize_t len);

/* pyws_raise_reuse raises ValueError: CLOSE, or no buffer at all, cannot be
 * sent out of the caller's memory. */
PyObject *pyws_raise_reuse(int is_close);

/* pyws_raise_entropy raises OSError: no masking key can be had. */
PyObject *pyws_raise_entropy(void);

/* pyws_raise_lent raises RuntimeError: buffer_updated() was given more bytes
 * than get_buffer() had room for. */
PyObject *pyws_raise_lent(Py_ssize_t given, size_t lent);

/* pyws_raise_type raises TypeError: |o| is no |wanted|, as |method| of the C
 * API needs one; it may be NULL. */
PyObject *pyws_raise_type(const char *method, const char *wanted, PyObject *o);

/* pyws_raise_memory raises ValueError: |len| bytes cannot lie where |method| of
 * the C API was told. */
PyObject *pyws_raise_memory(const char *method, size_t len);

/* pyws_raise_callback raises SystemError: the C function |name| returned |rc|
 * without an exception. */
PyObject *pyws_raise_callback(const char *name, int rc);

/* pyws_raised_exit says whether what is raised asks the process to end:
 * KeyboardInterrupt or SystemExit.  That goes on to the loop; whatever else
 * leaves a callback of the user's, also CancelledError, is dealt with here. */
int pyws_raised_exit(void);

/* pyws_raise_args raises TypeError about the call of |method|, printf-like. */
PyObject *pyws_raise_args(const char *method, const char *format, ...);

#endif /* PYWS_RAISE_H */
