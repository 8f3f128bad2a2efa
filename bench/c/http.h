/* http.h - the opening handshake (RFC 6455, 4), with peers that keep the rules.
 */
#ifndef HTTP_H
#define HTTP_H

/* http_ask sends an upgrade request. */
void http_ask(int fd, int port);
/* http_agreed reads the answer to it; it is a 101, or the program ends. */
void http_agreed(int fd);
/* http_connect does all three: connect, ask, read the answer. */
int http_connect(int port);

/* http_accept reads a request and answers it; |extension| is agreed on unless
 * it is "". */
void http_accept(int fd, const char *extension);

#endif /* HTTP_H */
