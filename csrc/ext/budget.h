/* budget.h - what one turn of a poller may still do, about a millisecond. */
#ifndef PYWS_BUDGET_H
#define PYWS_BUDGET_H

#include <stddef.h>

struct pyws_budget {
    /* frames of all, and of the owner that is being served */
    int frames;
    int share;
    /* bytes of all */
    ptrdiff_t bytes;
};

#endif /* PYWS_BUDGET_H */
