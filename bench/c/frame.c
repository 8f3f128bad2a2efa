#include "frame.h"

#include "socket.h"

#include <string.h>
#include <sys/random.h>

static void
mask(uint8_t *dest, const uint8_t *src, size_t len, const uint8_t key[4])
{
    uint32_t word;
    memcpy(&word, key, 4);
    uint64_t twice = (uint64_t)word << 32 | word;
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        uint64_t v;
        memcpy(&v, src + i, 8);
        v ^= twice;
        memcpy(dest + i, &v, 8);
    }
    for (; i < len; i++) {
        dest[i] = src[i] ^ key[i % 4];
    }
}

/* Keys must not be predictable (RFC 6455, 10.3); entropy is cheap by the page.
 */
static const uint8_t *
new_key(void)
{
    static uint8_t pool[4096];
    static size_t used = sizeof(pool);
    if (used == sizeof(pool)) {
        for (size_t got = 0; got < sizeof(pool); got += 256) {
            if (getrandom(pool + got, 256, 0) != 256) {
                die("getrandom");
            }
        }
        used = 0;
    }
    used += 4;
    return pool + used - 4;
}

static uint64_t
big_endian(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    while (n-- > 0) {
        value = value << 8 | *p++;
    }
    return value;
}

size_t
frame_next(uint8_t *data, size_t len, struct frame *f)
{
    if (len < 2) {
        return 0;
    }
    size_t head = 2, size = data[1] & 0x7F;
    size_t more = size == 126 ? 2 : size == 127 ? 8 : 0;
    uint8_t *key = NULL;
    if (len < head + more) {
        return 0;
    }
    if (more != 0) {
        size = (size_t)big_endian(data + 2, more);
    }
    head += more;
    if (data[1] & 0x80) {
        key = data + head;
        head += 4;
    }
    if (len < head || len - head < size) {
        return 0;
    }
    f->opcode = data[0] & 0x0F;
    f->payload = data + head;
    f->len = size;
    if (key != NULL) {
        mask(f->payload, f->payload, size, key);
    }
    return head + size;
}

uint8_t *
frame_write(uint8_t *dest, unsigned opcode, const uint8_t *payload, size_t len,
            int masked)
{
    uint8_t bit = masked ? 0x80 : 0;
    *dest++ = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        *dest++ = (uint8_t)(bit | len);
    }
    else {
        int bytes = len < 65536 ? 2 : 8;
        *dest++ = (uint8_t)(bit | (bytes == 2 ? 126 : 127));
        while (bytes-- > 0) {
            *dest++ = (uint8_t)((uint64_t)len >> (8 * bytes));
        }
    }
    if (!masked) {
        memmove(dest, payload, len);
        return dest + len;
    }
    const uint8_t *key = new_key();
    memcpy(dest, key, 4);
    mask(dest + 4, payload, len, key);
    return dest + 4 + len;
}
