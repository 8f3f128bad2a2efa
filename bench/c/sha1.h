/* sha1.h - SHA-1 (FIPS 180-4) of a short text, in base64: what the handshake
 * asks for. */
#ifndef SHA1_H
#define SHA1_H

#include <stddef.h>

#define SHA1_BASE64 29

/* |len| is below 120. */
void sha1_base64(const char *text, size_t len, char out[SHA1_BASE64]);

#endif /* SHA1_H */
