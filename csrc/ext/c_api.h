/* c_api.h - the table of functions behind picows_c.h. */
#ifndef PYWS_C_API_H
#define PYWS_C_API_H

#include "compat.h"

/* pyws_c_api_add adds the capsule _C_API to the module: once, from its exec. */
int pyws_c_api_add(PyObject *module);

#endif /* PYWS_C_API_H */
