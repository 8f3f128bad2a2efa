"""URLs: what ws_connect refuses, and the parts of those it takes."""

import importlib

from kit import failure

DIFFERS = {
    "url-refused": ["port 99999", "port abc", "port 0", "a space", "a line end", "empty fragment"],
    "url-quoted": [
        "parts of an IRI beside a percent sign",
        "resource of IRI beside a percent sign",
    ],
}

REFUSED = {
    "http": "http://127.0.0.1/",
    "no scheme": "127.0.0.1",
    "empty": "",
    "no host": "ws:///path",
    "nothing behind the scheme": "ws://",
    "a fragment": "ws://127.0.0.1/#there",
    "empty fragment": "ws://127.0.0.1:1/#",
    "port 99999": "ws://127.0.0.1:99999/",
    "port abc": "ws://127.0.0.1:abc/",
    "port 0": "ws://127.0.0.1:0/",
    "a space": "ws://127.0.0.1:1/a b",
    "a line end": "ws://127.0.0.1:1/a\nb",
}

TAKEN = {
    "host only": "ws://example.com",
    "path and query": "ws://example.com:8080/a/b?c=d&e",
    "query only": "ws://example.com?c=d",
    "secure": "wss://example.com/",
    "userinfo": "ws://user:p%40ss@example.com/",
    "user only": "ws://user@example.com/",
    "IPv6": "ws://[::1]:9000/",
    "quoted already": "ws://example.com/%41%2F?x=%20",
    "IRI": "ws://example.com/höhe?maß=1",
    "IRI beside a percent sign": "ws://example.com/%20höhe",
}


async def main(ws, log):
    for name, url in REFUSED.items():
        log(name, await failure(ws.ws_connect(ws.WSListener, url)))
    parse_url = importlib.import_module(ws.__name__ + ".url").parse_url
    for name, url in TAKEN.items():
        parsed = parse_url(url)
        parts = [parsed.scheme, parsed.is_secure, parsed.port, parsed.path, parsed.query]
        log(f"parts of an {name}" if name.startswith("IRI") else f"parts: {name}", parts)
        log(f"resource of {name}", parsed.resource_name)
        log(f"url and host of {name}", [parsed.url, parsed.netloc, parsed.host])
        log(f"user of {name}", [parsed.username, parsed.password, parsed.user_info])
    log("host of an IRI", parse_url("ws://bücher.example/").host)
    log("host in upper case", parse_url("ws://EXAMPLE.com/").host)
