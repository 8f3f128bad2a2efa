"""What a server answers to requests, good and bad."""

from kit import answer_of, recorder, serving
from wire import request_bytes

DIFFERS = {
    "connection-tokens": ["Connection: keep-alive, Upgrade", "Upgrade: websocket, h2c"],
    "version-13": ["version 7", "version 8", "version 12", "no version", "version 13 twice"],
    "host-required": [
        "no Host",
        "no Host: the factory saw",
        "two Hosts",
        "two Hosts: the factory saw",
    ],
    "http-limits": ["129 headers", "a head of 17 KiB"],
    "key-once": ["two keys"],
    "head-request": ["HEAD: the factory saw"],
    "other-methods": ["POST", "get in lower case"],
    "http-1-0": ["HTTP/1.0: the factory saw"],
    "target": [
        "an absolute target: the factory saw",
        "a target without a slash",
        "a target without a slash: the factory saw",
    ],
    "empty-line": ["an empty line first", "an empty line first: the factory saw"],
    "bare-lf": ["line ends without CR"],
}

LINE = b"GET / HTTP/1.1\r\n"


def changed(*swaps):
    request = request_bytes()
    for old, new in swaps:
        assert old in request
        request = request.replace(old, new)
    return request


def added(*lines):
    return request_bytes()[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


REQUESTS = {
    "good": request_bytes(),
    "a path with a query": request_bytes("/a/b?c=%20"),
    "an absolute target": request_bytes("http://example.com/a?b"),
    "a target without a slash": request_bytes("a"),
    "an empty line first": b"\r\n" + request_bytes(),
    "headers in lower case": changed((b"Upgrade: websocket", b"upgrade: websocket")),
    "Connection: keep-alive, Upgrade": request_bytes(Connection="keep-alive, Upgrade"),
    "Connection: close": request_bytes(Connection="close"),
    "Connection: UPGRADE": request_bytes(Connection="UPGRADE"),
    "no Connection": request_bytes(drop=("Connection",)),
    "Upgrade: WebSocket": request_bytes(Upgrade="WebSocket"),
    "Upgrade: h2c": request_bytes(Upgrade="h2c"),
    "Upgrade: websocket, h2c": request_bytes(Upgrade="websocket, h2c"),
    "no Upgrade": request_bytes(drop=("Upgrade",)),
    "version 7": request_bytes(Sec_WebSocket_Version="7"),
    "version 8": request_bytes(Sec_WebSocket_Version="8"),
    "version 12": request_bytes(Sec_WebSocket_Version="12"),
    "version 13 twice": added(b"Sec-WebSocket-Version: 13"),
    "no version": request_bytes(drop=("Sec-WebSocket-Version",)),
    "no key": request_bytes(drop=("Sec-WebSocket-Key",)),
    "a short key": request_bytes(Sec_WebSocket_Key="AAAA"),
    "a key that is no base64": request_bytes(Sec_WebSocket_Key="!" * 24),
    "two keys": added(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "no Host": request_bytes(drop=("Host",)),
    "two Hosts": added(b"Host: example.com"),
    "an empty Host": request_bytes(Host=""),
    "POST": changed((b"GET", b"POST")),
    "HEAD": changed((b"GET", b"HEAD")),
    "get in lower case": changed((b"GET", b"get")),
    "HTTP/1.0": changed((b"HTTP/1.1", b"HTTP/1.0")),
    "HTTP/2.0": changed((b"HTTP/1.1", b"HTTP/2.0")),
    "two spaces in the first line": changed((b"GET /", b"GET  /")),
    "no target": changed((b"GET / ", b"GET  ")),
    "two words": changed((b" HTTP/1.1", b"")),
    "Content-Length: 0": added(b"Content-Length: 0"),
    "Content-Length: 00": added(b"Content-Length: 00"),
    "Content-Length: 5": added(b"Content-Length: 5"),
    "Content-Length: x": added(b"Content-Length: x"),
    "Content-Length twice": added(b"Content-Length: 0", b"Content-Length: 0"),
    "Transfer-Encoding": added(b"Transfer-Encoding: chunked"),
    "a folded header": added(b"A: 1", b" 2"),
    "a header without colon": added(b"A"),
    "a space before the colon": added(b"A : 1"),
    "an empty name": added(b": 1"),
    "NUL in a value": added(b"A: \0"),
    "bytes beyond ASCII": added("A: ä".encode()),
    "128 headers": added(*[b"A: 1"] * 123),
    "129 headers": added(*[b"A: 1"] * 124),
    "a head of 17 KiB": added(b"A: " + b"1" * 17 * 1024),
    "line ends without CR": request_bytes().replace(b"\r\n", b"\n"),
    "a response": b"HTTP/1.1 200 OK\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


async def main(ws, log):
    asked = []

    def factory(request):
        asked.append([request.method, request.path, request.version, sorted(request.headers)])
        return recorder(ws)

    async with serving(ws, factory, websocket_handshake_timeout=0.5) as port:
        for name, request in REQUESTS.items():
            asked.clear()
            answer = await answer_of(port, request)
            log(name, answer if isinstance(answer, str) else answer[0])
            log(f"{name}: the factory saw", asked)
        log("the answer", await answer_of(port, request_bytes()))
        answer = await answer_of(port, request_bytes(drop=("Upgrade",)))
        log("a refusal has a body", bool(answer[2]))
        log("headers of a refusal", [pair for pair in answer[1] if pair[0] != "content-length"])
