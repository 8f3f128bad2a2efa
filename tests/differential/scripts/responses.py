"""WSUpgradeResponse and its builders."""

from kit import attempt

DIFFERS = {
    "content-length": [
        "200 to bytes",
        "404 without a body to bytes",
        "302 to bytes",
        "302 with headers to bytes",
    ],
    "response-reused": ["the second time"],
    "injection": ["CR LF in a header", "CR LF in Location"],
    "response-status": ["an error 599"],
}


def parts(response):
    return [
        response.version,
        int(response.status),
        sorted(response.headers.items()),
        response.body,
    ]


def lines(response):
    head, _, body = bytes(response.to_bytes()).partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    return [first, sorted(fields), body]


async def main(ws, log):
    kind = ws.WSUpgradeResponse
    made = {
        "200": kind.create_ok_response(),
        "200 with a body": kind.create_ok_response(b"body"),
        "200 with a type": kind.create_ok_response(b"{}", {"content-type": "application/json"}),
        "404": kind.create_error_response(404, b"body"),
        "404 without a body": kind.create_error_response(404),
        "302": kind.create_redirect_response(302, "/there"),
        "302 with headers": kind.create_redirect_response(302, "/there", [("A", "1"), ("A", "2")]),
        "101": kind.create_101_response(),
        "101 with headers": kind.create_101_response({"Connection": "x", "A": "1"}),
    }
    for name, response in made.items():
        log(name, parts(response))
        log(f"{name} to bytes", lines(response))
    log("the second time", lines(made["404"]))

    for name, call in {
        "an error 200": lambda: kind.create_error_response(200),
        "an error 599": lambda: kind.create_error_response(599) and None,
        "a redirect 200": lambda: kind.create_redirect_response(200, "/"),
        "a redirect 400": lambda: kind.create_redirect_response(400, "/"),
        "an int value": lambda: kind.create_ok_response(b"", {"A": 1}),
        "CR LF in a header": lambda: kind.create_ok_response(b"", {"A": "1\r\nB: 2"}) and None,
        "CR LF in Location": lambda: kind.create_redirect_response(302, "/\r\nB: 2") and None,
    }.items():
        log(name, attempt(call))
