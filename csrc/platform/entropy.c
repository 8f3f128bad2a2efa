#include "entropy.h"

void
ws_entropy_init(struct ws_entropy *e)
{
    e->left = 0;
    e->generation = 0;
}

int
ws_entropy_key(struct ws_entropy *e, unsigned generation, uint8_t key[4])
{
    if (WS_UNLIKELY(e->left < 4 || e->generation != generation)) {
        e->left = 0;
        if (ws_entropy_fill(e->pool, sizeof(e->pool)) != 0) {
            return -1;
        }
        e->left = sizeof(e->pool);
        e->generation = generation;
    }
    uint8_t *next = e->pool + (sizeof(e->pool) - e->left);
    memcpy(key, next, 4);
    e->left -= 4;
    return 0;
}
