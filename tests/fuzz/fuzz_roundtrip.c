/* fuzz_roundtrip.c - frames that ws_writer and ws_mask make come out of
 * ws_parser and ws_mask as they were, by every kernel, one frame after the
 * other.
 *
 * The input is a list of frames: first byte, length, key, payload.
 */
#include "fuzz.h"
#include "ws_mask.h"
#include "ws_opcode.h"
#include "ws_parser.h"
#include "ws_writer.h"

struct frame {
    unsigned first;
    size_t len;
    uint8_t key[4];
    /* payload is made of these bytes, again and again. */
    const uint8_t *seed;
    size_t seed_len;
};

enum { FRAMES = 32 };

/* Takes one frame off the input and makes it one that may be sent now.  Returns
 * 0 where nothing is left. */
static int
frame_read(struct frame *f, const uint8_t **data, size_t *size, int *in_message)
{
    static const size_t lens[] = {0,     1,     125,   126,   127,  128,
                                  65534, 65535, 65536, 65537, 70000};
    const uint8_t *d = *data;

    if (*size < 8) {
        return 0;
    }
    f->first = d[0];
    f->len =
        d[1] & 1 ? lens[d[2] % 11] : (size_t)(d[2] | (d[1] >> 1) << 8) % 2000;
    memcpy(f->key, d + 3, 4);
    size_t most = *size - 8;
    f->seed_len = d[7] < most ? d[7] : most;
    f->seed = d + 8;
    *data += 8 + f->seed_len;
    *size -= 8 + f->seed_len;

    unsigned opcode = f->first & WS_BITS_OPCODE;
    if (ws_opcode_is_control(opcode)) {
        opcode = WS_OP_CLOSE + opcode % 3;
        f->first = (f->first & WS_BITS_RSV) | WS_BIT_FIN | opcode;
        f->len %= WS_CONTROL_MAX + 1;
    }
    else {
        opcode = *in_message ? WS_OP_CONTINUATION : 1 + opcode % 2;
        f->first = (f->first & (WS_BITS_RSV | WS_BIT_FIN)) | opcode;
        *in_message = (f->first & WS_BIT_FIN) == 0;
    }
    return 1;
}

/* All payloads, one after the other, |total| bytes. */
static uint8_t *
payloads_new(const struct frame *frames, size_t count, size_t total)
{
    uint8_t *plain = fuzz_new(total), *at = plain;
    for (size_t i = 0; i < count; i++) {
        const struct frame *f = &frames[i];
        for (size_t k = 0, s = 0; k < f->len; k++) {
            *at++ = f->seed_len == 0 ? (uint8_t)(k + k / 251) : f->seed[s];
            s = s + 1 < f->seed_len ? s + 1 : 0;
        }
    }
    return plain;
}

static void
frames_there_and_back(const struct frame *frames, size_t count,
                      const uint8_t *plain, int masked, ws_mask_fn there,
                      ws_mask_fn back)
{
    size_t total = 0, at = 0;
    const uint8_t *from = plain;

    for (size_t i = 0; i < count; i++) {
        total += ws_writer_head_len(frames[i].len, masked) + frames[i].len;
    }
    /* Exactly as much, so that writing or reading past the end is seen. */
    uint8_t *wire = fuzz_new(total);
    for (size_t i = 0; i < count; i++) {
        const struct frame *f = &frames[i];
        size_t n = ws_writer_head_len(f->len, masked);
        uint8_t *end =
            ws_writer_head(wire + at, f->first, f->len, masked ? f->key : NULL);
        MUST(end == wire + at + n);
        if (masked) {
            there(end, from, f->len, f->key, 0);
        }
        else {
            memcpy(end, from, f->len);
        }
        from += f->len;
        at += n + f->len;
    }
    MUST(at == total);

    struct ws_parser p;
    struct ws_head head;
    ws_parser_init(&p, masked, 70000);
    p.rsv_allowed = WS_BITS_RSV;
    at = 0;
    from = plain;
    for (size_t i = 0; i < count; i++) {
        const struct frame *f = &frames[i];
        MUST(ws_parser_next(&p, wire + at, total - at, &head) == 1);
        MUST(head.opcode == (f->first & WS_BITS_OPCODE));
        MUST(head.fin == ((f->first & WS_BIT_FIN) != 0));
        MUST(head.rsv == (f->first & WS_BITS_RSV));
        MUST(head.masked == masked && head.payload_len == f->len);
        MUST(head.len == ws_writer_head_len(f->len, masked));
        uint8_t *payload = wire + at + head.len;
        if (masked) {
            MUST(memcmp(head.key, f->key, 4) == 0);
            /* In two pieces and in place, as a reader may. */
            size_t cut = f->len / 3;
            back(payload, payload, cut, head.key, 0);
            back(payload + cut, payload + cut, f->len - cut, head.key,
                 (unsigned)(cut % 4));
        }
        MUST(memcmp(payload, from, f->len) == 0);
        from += f->len;
        at += head.len + head.payload_len;
    }
    MUST(at == total);
    MUST(ws_parser_next(&p, wire + at, 0, &head) == 0 && p.need == 2);
    free(wire);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frames[FRAMES];
    size_t count = 0, kernels, total = 0;
    int in_message = 0;
    const struct ws_mask_kernel *kernel = ws_mask_kernels(&kernels);

    while (count < FRAMES && total < 20000 &&
           frame_read(&frames[count], &data, &size, &in_message)) {
        total += frames[count].len;
        count++;
    }
    uint8_t *plain = payloads_new(frames, count, total);
    frames_there_and_back(frames, count, plain, 0, NULL, NULL);
    for (size_t i = 0; i < kernels; i++) {
        if (kernel[i].supported()) {
            frames_there_and_back(frames, count, plain, 1, kernel[i].fn,
                                  kernel[kernels - 1].fn);
        }
    }
    free(plain);
    return 0;
}
