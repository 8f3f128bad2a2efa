"""What ws_connect makes of answers that are no upgrade."""

from kit import failure, raw_server
from wire import read_head

DIFFERS = {
    "status-line": ["520", "999", "no phrase"],
    "interim": ["404 after a 103", "404 after a 103: head", "404 after a 103: body"],
    "http-version-case": ["http/1.1 in lower case"],
    "http-1-0": ["HTTP/1.0"],
    "refusal-content": ["404 in chunks: body"],
    "folded": ["a folded header"],
    "partial-response": [
        "a header without colon",
        "a space before the colon",
        "a header with NUL",
        "129 headers",
    ],
}

ANSWERS = {
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    "400": b"HTTP/1.1 400 Bad Request\r\nX-Why: no\r\n\r\n",
    "404 with a body": b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!",
    "404 with half a body": b"HTTP/1.1 404 Not Found\r\nContent-Length: 30\r\n\r\nno",
    "404 in chunks": b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "503 with two of a header": b"HTTP/1.1 503 Service Unavailable\r\nA: 1\r\nA: 2\r\n\r\n",
    "404 after a 103": b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "520": b"HTTP/1.1 520 Web Server Returned an Unknown Error\r\n\r\n",
    "999": b"HTTP/1.1 999 Request Denied\r\n\r\n",
    "no phrase": b"HTTP/1.1 404\r\n\r\n",
    "empty phrase": b"HTTP/1.1 404 \r\n\r\n",
    "an odd phrase": b"HTTP/1.1 404 Nein: nicht hier\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 404 Not Found\r\n\r\n",
    "HTTP/2": b"HTTP/2 404 Not Found\r\n\r\n",
    "http/1.1 in lower case": b"http/1.1 404 Not Found\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "letters for a status": b"HTTP/1.1 abc Not Found\r\n\r\n",
    "four digits": b"HTTP/1.1 4040 Not Found\r\n\r\n",
    "empty first line": b"\r\n\r\n",
    "not UTF-8": b"\xff\xfe\xff\xfe\r\n\r\n",
    "a folded header": b"HTTP/1.1 404 Not Found\r\nA: 1\r\n 2\r\n\r\n",
    "a header without colon": b"HTTP/1.1 404 Not Found\r\nA\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 404 Not Found\r\nA : 1\r\n\r\n",
    "a header with NUL": b"HTTP/1.1 404 Not Found\r\nA: \0\r\n\r\n",
    "129 headers": b"HTTP/1.1 404 Not Found\r\n" + b"A: 1\r\n" * 129 + b"\r\n",
    "128 headers": b"HTTP/1.1 404 Not Found\r\n" + b"A: 1\r\n" * 128 + b"\r\n",
    "a head of 17 KiB": b"HTTP/1.1 404 Not Found\r\nA: " + b"1" * 17 * 1024 + b"\r\n\r\n",
}


def describe(error):
    """Return everything that an exception of the handshake says, but for its wording."""
    response = getattr(error, "response", None)
    if response is not None:
        headers = sorted(response.headers.items())
        response = [int(response.status), response.version, headers, response.body]
    return [type(error).__name__, response]


async def main(ws, log):
    answer = b""

    async def handle(peer):
        await read_head(peer.reader)
        peer.send(answer)

    async with raw_server(handle) as port:
        for name, data in ANSWERS.items():
            answer = data
            error = await failure(ws.ws_connect(ws.WSListener, f"ws://127.0.0.1:{port}/"))
            log(name, describe(error))
            log(f"{name}: head", getattr(error, "raw_header", "no attribute"))
            log(f"{name}: body", getattr(error, "raw_body", "no attribute"))
        answer = ANSWERS["404 with a body"]
        error = await failure(ws.ws_connect(ws.WSListener, f"ws://127.0.0.1:{port}/"))
        log("text of a wrong status", str(error))
