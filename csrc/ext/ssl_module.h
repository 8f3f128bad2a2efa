/* ssl_module.h - what TLS takes from Python's ssl module: its exceptions, and
 * whether the OpenSSL below it can be called (libssl.h).
 */
#ifndef PYWS_SSL_MODULE_H
#define PYWS_SSL_MODULE_H

#include "state.h"

/* What a step of TLS did. */
enum pyws_tls_result {
    PYWS_TLS_ERROR = -1, /* an exception is set */
    PYWS_TLS_AGAIN = 0,  /* more input is needed */
    PYWS_TLS_DONE = 1,
    PYWS_TLS_END = 2, /* the peer sent close_notify */
};

/* pyws_ssl_import fills what |state| has of the ssl module; called once from
 * the module's exec.  0, or -1 with an exception set. */
int pyws_ssl_import(pyws_state *state);

/* pyws_ssl_inner returns the object whose methods are called, a new reference:
 * what is inside |sslobj| where both are the ssl module's own, which |*stock|
 * says, else |sslobj| itself.  NULL with an exception set. */
PyObject *pyws_ssl_inner(pyws_state *state, PyObject *sslobj, int *stock);

/* pyws_ssl_raised returns what the exception of a call means, and clears those
 * that are no errors. */
enum pyws_tls_result pyws_ssl_raised(pyws_state *state);

/* pyws_ssl_raise_ended raises ConnectionResetError: TLS is at its end. */
void pyws_ssl_raise_ended(void);

/* pyws_ssl_raise raises what OpenSSL says of the last call, as the ssl module
 * does. */
void pyws_ssl_raise(pyws_state *state);

#endif /* PYWS_SSL_MODULE_H */
