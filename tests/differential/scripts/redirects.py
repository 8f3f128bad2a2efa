"""Redirects: which are followed, how far, and what is told when they are not."""

import ssl

from kit import accepting, failure, pem, raw_server, recorder
from wire import read_head

DIFFERS = {
    "redirect-secrets": ["to another origin"],
    "redirect-http": ["to http"],
}


async def main(ws, log):
    asked = []
    port = other_port = 0

    async def handle(peer):
        first, headers = await read_head(peer.reader)
        path = first.split()[1]
        asked.append(path)
        status, _, location = path.lstrip("/").partition("-")
        if not status.isdigit():
            asked.append(sorted(name for name in headers if name not in USUAL))
            peer.send(accepting(headers["sec-websocket-key"]))
            return
        location = {
            "": None,
            "relative": "there",
            "absolute": "/there",
            "full": f"ws://127.0.0.1:{port}/there",
            "twice": "/302-absolute",
            "forever": path,
            "http": f"http://127.0.0.1:{port}/there",
            "other": f"ws://127.0.0.1:{other_port}/there",
            "scheme": f"//127.0.0.1:{port}/there",
            "query": "?a=b",
            "plain": f"ws://127.0.0.1:{other_port}/there",
        }[location]
        line = "" if location is None else f"Location: {location}\r\n"
        peer.send(f"HTTP/1.1 {status} Elsewhere\r\n{line}\r\n".encode())

    async def connect(name, path, scheme="ws", **options):
        asked.clear()
        listener = recorder(ws)
        url = f"{scheme}://127.0.0.1:{port}{path}"
        made = await failure(ws.ws_connect(lambda: listener, url, **options))
        if isinstance(made, tuple):
            made[0].disconnect(False)
            made = await listener.until("disconnected")
        else:
            response = getattr(made, "response", None)
            made = [type(made).__name__, response and int(response.status)]
        log(name, [made, asked])

    secret = {"Authorization": "secret", "Cookie": "a=b", "Proxy-Authorization": "c", "X-Own": "1"}
    async with raw_server(handle) as other, raw_server(handle) as here:
        port, other_port = here, other
        for status in (300, 301, 302, 303, 304, 305, 307, 308):
            await connect(f"{status}", f"/{status}-absolute")
        for kind in ("relative", "full", "twice", "scheme"):
            await connect(kind, f"/302-{kind}")
        await connect("without Location", "/302")
        await connect("to http", "/302-http")
        await connect("forever", "/302-forever")
        await connect("forever, at most 2", "/302-forever", max_redirects=2)
        await connect("off", "/302-absolute", max_redirects=0)
        await connect("twice, at most 1", "/302-twice", max_redirects=1)
        await connect("within the origin", "/302-absolute", extra_headers=secret)
        await connect("to another origin", "/302-other", extra_headers=secret)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem("server"))
        client = ssl.create_default_context(cafile=pem("authority"))
        async with raw_server(handle, ssl=context) as secure:
            port = secure
            await connect("wss within", "/302-absolute", "wss", ssl_context=client)
            await connect("wss to ws", "/302-plain", "wss", ssl_context=client)


USUAL = (
    "host",
    "upgrade",
    "connection",
    "sec-websocket-version",
    "sec-websocket-key",
)
