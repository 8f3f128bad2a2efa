"""Plain HTTP beside the socket."""

from kit import answer_of, recorder, serving
from wire import request_bytes

DIFFERS = {
    "head-request": ["HEAD"],
    "other-methods": ["OPTIONS", "POST"],
    "http-1-0": ["a page in HTTP/1.0"],
    "response-reused": ["the same response again"],
    "content-length": ["a redirect"],
}


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


async def main(ws, log):
    answer = ws.WSUpgradeResponse
    kept = answer.create_ok_response(b"kept")

    def factory(request):
        log(f"asked for {request.method!r} {request.path!r}", sorted(request.headers.items()))
        response = {
            b"/health": lambda: answer.create_ok_response(b"ok"),
            b"/kept": lambda: kept,
            b"/json": lambda: answer.create_ok_response(b"{}", {"Content-Type": "text/json"}),
            b"/moved": lambda: answer.create_redirect_response(301, "/health"),
            b"/own": lambda: answer.create_ok_response(b"ok", {"Connection": "keep-alive"}),
        }.get(request.path)
        if response is None:
            return recorder(ws)
        return ws.WSUpgradeResponseWithListener(response(), None)

    async with serving(ws, factory) as port:
        log("health", await answer_of(port, get("/health")))
        log("json", await answer_of(port, get("/json")))
        log("a redirect", await answer_of(port, get("/moved")))
        log("a Connection of its own", await answer_of(port, get("/own")))
        log("without upgrade", (await answer_of(port, get("/socket")))[0])
        log("with upgrade", (await answer_of(port, request_bytes("/socket?1")))[0])
        log("kept", await answer_of(port, get("/kept")))

    async with serving(ws, lambda _: ws.WSUpgradeResponseWithListener(kept, None)) as port:
        log("the same response again", await answer_of(port, get("/kept")))
        for method in ("OPTIONS", "POST"):
            log(method, (await answer_of(port, get("/kept", method)))[0])
        log("a page in HTTP/1.0", (await answer_of(port, b"GET /kept HTTP/1.0\r\n\r\n"))[0])
        log("HEAD", (await answer_of(port, get("/kept", "HEAD")))[0])
