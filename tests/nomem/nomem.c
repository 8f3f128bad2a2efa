/* nomem.c - makes one allocation of CPython's allocators fail: the nth of those
 * made while call() runs.  All three domains; the core's allocator is the raw
 * one (csrc/ext/state.c).
 *
 * A module for tests, for one thread.
 */
#include <Python.h>

static struct {
    PyMemAllocatorEx raw, mem, obj;
    /* How deep in call(), and in pause(); how many allocations there so far;
     * which one fails, -1: none; whether it did. */
    int depth, paused;
    long long count, fail_at;
    int failed;
} nomem = {.fail_at = -1};

static int
fails(void)
{
    if (nomem.depth == 0 || nomem.paused != 0) {
        return 0;
    }
    if (nomem.count++ != nomem.fail_at) {
        return 0;
    }
    nomem.failed = 1;
    return 1;
}

static void *
hook_malloc(void *ctx, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails() ? NULL : next->malloc(next->ctx, size);
}

static void *
hook_calloc(void *ctx, size_t count, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails() ? NULL : next->calloc(next->ctx, count, size);
}

static void *
hook_realloc(void *ctx, void *ptr, size_t size)
{
    PyMemAllocatorEx *next = ctx;
    return fails() ? NULL : next->realloc(next->ctx, ptr, size);
}

static void
hook_free(void *ctx, void *ptr)
{
    PyMemAllocatorEx *next = ctx;
    next->free(next->ctx, ptr);
}

static void
hook(PyMemAllocatorDomain domain, PyMemAllocatorEx *next)
{
    PyMemAllocatorEx ours = {next, hook_malloc, hook_calloc, hook_realloc,
                             hook_free};
    PyMem_GetAllocator(domain, next);
    PyMem_SetAllocator(domain, &ours);
}

static PyObject *
nomem_start(PyObject *module, PyObject *arg)
{
    (void)module;
    nomem.fail_at = PyLong_AsLongLong(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    nomem.count = 0;
    nomem.failed = 0;
    Py_RETURN_NONE;
}

static PyObject *
nomem_stop(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    nomem.fail_at = -1;
    return Py_BuildValue("(Li)", nomem.count, nomem.failed);
}

static PyObject *
nomem_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "call(callable, *args)");
        return NULL;
    }
    nomem.depth++;
    PyObject *result =
        PyObject_Vectorcall(args[0], args + 1, (size_t)(nargs - 1), NULL);
    nomem.depth--;
    return result;
}

static PyObject *
nomem_pause(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    nomem.paused++;
    Py_RETURN_NONE;
}

static PyObject *
nomem_resume(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    nomem.paused--;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", nomem_start, METH_O, "Count from 0; the nth fails, -1: none."},
    {"stop", nomem_stop, METH_NOARGS, "Return (allocations, failed)."},
    {"call", (PyCFunction)(void (*)(void))nomem_call, METH_FASTCALL,
     "Call, and count meanwhile."},
    {"pause", nomem_pause, METH_NOARGS, "Do not count for a while."},
    {"resume", nomem_resume, METH_NOARGS, "Count again."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "nomem",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_nomem(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL) {
        hook(PYMEM_DOMAIN_RAW, &nomem.raw);
        hook(PYMEM_DOMAIN_MEM, &nomem.mem);
        hook(PYMEM_DOMAIN_OBJ, &nomem.obj);
    }
    return module;
}
