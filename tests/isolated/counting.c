/* counting.c - counts every allocation of a Python process: Python's three
 * allocators, and malloc with its relatives, which counting_malloc.c has.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern __thread int counting_on;
extern unsigned long counting_found[2];

enum { RAW, MEM, OBJ, DOMAINS };
static const char *const names[DOMAINS] = {"raw", "mem", "object"};
static unsigned long found[DOMAINS];

static void
count(int kind)
{
    if (counting_on) {
        found[kind]++;
    }
}

/* ---- Python's ---- */

static struct domain {
    PyMemAllocatorEx next;
    int kind;
} domains[DOMAINS];

static void *
domain_malloc(void *context, size_t n)
{
    struct domain *d = context;
    count(d->kind);
    return d->next.malloc(d->next.ctx, n);
}

static void *
domain_calloc(void *context, size_t times, size_t n)
{
    struct domain *d = context;
    count(d->kind);
    return d->next.calloc(d->next.ctx, times, n);
}

static void *
domain_realloc(void *context, void *p, size_t n)
{
    struct domain *d = context;
    count(d->kind);
    return d->next.realloc(d->next.ctx, p, n);
}

static void
domain_free(void *context, void *p)
{
    struct domain *d = context;
    d->next.free(d->next.ctx, p);
}

static PyObject *
begin(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    counting_on = 1;
    Py_RETURN_NONE;
}

static PyObject *
end(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    counting_on = 0;
    Py_RETURN_NONE;
}

static int
put(PyObject *all, const char *name, unsigned long *number)
{
    PyObject *n = PyLong_FromUnsignedLong(*number);
    int failed = n == NULL || PyDict_SetItemString(all, name, n) < 0;
    Py_XDECREF(n);
    *number = 0;
    return failed;
}

/* What was counted since the last time. */
static PyObject *
take(PyObject *self, PyObject *ignored)
{
    (void)self;
    (void)ignored;
    PyObject *all = PyDict_New();
    int failed = all == NULL || put(all, "malloc", &counting_found[0]) ||
                 put(all, "realloc", &counting_found[1]);
    for (int i = 0; !failed && i < DOMAINS; i++) {
        failed = put(all, names[i], &found[i]);
    }
    if (failed) {
        Py_CLEAR(all);
    }
    return all;
}

static PyMethodDef methods[] = {
    {"begin", begin, METH_NOARGS, NULL},
    {"end", end, METH_NOARGS, NULL},
    {"take", take, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    "counting",
    NULL,
    -1,
    methods,
    NULL,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_counting(void)
{
    static const PyMemAllocatorDomain which[DOMAINS] = {
        PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < DOMAINS; i++) {
        PyMemAllocatorEx mine = {&domains[i], domain_malloc, domain_calloc,
                                 domain_realloc, domain_free};
        PyMem_GetAllocator(which[i], &domains[i].next);
        domains[i].kind = i;
        PyMem_SetAllocator(which[i], &mine);
    }
    return PyModule_Create(&module);
}
