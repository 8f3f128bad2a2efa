/* vectors.h - test vectors written as Markdown: prose, a fenced block with the
 * bytes, a fenced block with what must come of them.
 *
 *     ### A heading, which becomes the title
 *     ```http options          or ```hex options
 *     the bytes
 *     ```
 *     ```events
 *     what must come of them: any text, compared as it stands
 *     ```
 *
 * Under one heading there may be several such pairs.  Blocks of other languages
 * are prose.  The bytes are printable ASCII in either language:
 *   http  text; \r \n \t \\ \{ \} \xNN are one byte each; a line break is not
 *         part of the bytes, and no blank may stand before it (write \x20)
 *   hex   pairs of hexadecimal digits, in lower or upper case; white space does
 *         not count, nor does '#' and what follows it in a line
 * and {bytes*N}, which does not nest, is N times the bytes.
 *
 * A file that is not so fails the test that reads it, with the file's line.
 */
#ifndef VECTORS_H
#define VECTORS_H

#include <stddef.h>
#include <stdint.h>

struct vector {
    /* title is "file:line: heading", the line being that of the bytes. */
    char *title;
    /* options is what follows the language in the info string, or "". */
    char *options;
    /* bytes is a block of exactly |len| bytes, so that ASan guards its end. */
    uint8_t *bytes;
    size_t len;
    /* expect is the events block, each line with its line break. */
    char *expect;
};

/* vectors_load reads |file| of the directory that the environment variable
 * VECTORS names, or of "tests/vectors".  Returns the vectors, one at least, and
 * stores their number in |*count|. */
struct vector *vectors_load(const char *file, size_t *count);

/* vectors_parse is vectors_load for a |text| in memory; |name| stands for the
 * file's. */
struct vector *vectors_parse(const char *name, const char *text, size_t *count);

/* vectors_free frees what the two return. */
void vectors_free(struct vector *vectors, size_t count);

/* vectors_write writes |len| bytes to |out| as an http block has them, and a
 * NUL: for the events that a test compares with.  There is one way to write
 * anything: \t \\ \{ \} and \xnn (lower case) for what is not printable and
 * for a final SP, {byte*N} for eight or more equal bytes.  Returns the length
 * without the NUL; |size| is that of |out|, and must do. */
size_t vectors_write(char *out, size_t size, const uint8_t *bytes, size_t len);

/* The events of the input at hand, one text for all tests: vectors_log_clear
 * empties it, vectors_log_add appends to it as printf does, vectors_log_bytes
 * as vectors_write does.  vectors_log_text returns it: valid until it changes.
 */
void vectors_log_clear(void);
void vectors_log_add(const char *format, ...);
void vectors_log_bytes(const uint8_t *bytes, size_t len);
const char *vectors_log_text(void);

/* vectors_log_check fails unless the log is |want|; it shows both. */
void vectors_log_check(const char *want);

#endif /* VECTORS_H */
