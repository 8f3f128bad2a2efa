"""The request on the wire."""

import base64
import re

from kit import accepting, failure, raw_server, recorder, without_port

DIFFERS = {
    "host-userinfo": ["userinfo"],
    "basic-auth": ["userinfo: credentials"],
    "injection": ["a line end in the path"],
}


async def main(ws, log):
    heads = []

    async def handle(peer):
        raw = (await peer.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        key = re.search(r"(?m)^Sec-WebSocket-Key: (.*)\r$", raw)[1]
        heads.append((raw.replace(key, "KEY"), key))
        peer.send(accepting(key))

    async def request(path, host="127.0.0.1", **options):
        """Connect; return the request line and the headers."""
        listener = recorder(ws)
        url = f"ws://{host}:{port}{path}"
        made = await failure(ws.ws_connect(lambda: listener, url, **options))
        if isinstance(made, BaseException):
            return made
        made[0].disconnect(False)
        await listener.until("disconnected")
        return without_port(heads[-1][0]).split("\r\n")

    async with raw_server(handle) as port:
        log("plain", await request("/"))
        log("no path", await request(""))
        log("path and query", await request("/a/b?c=d&e=%20"))
        log("query only", await request("?c=d"))
        log("IRI", await request("/höhe?maß"))
        lines = await request("/", "user:secret@127.0.0.1")
        credentials = [line for line in lines if line.startswith("Authorization")]
        log("userinfo", [line for line in lines if line not in credentials])
        log("userinfo: credentials", credentials)
        log("another name", [line.partition(":")[0] for line in await request("/", "localhost")])
        log("a line end in the path", await request("/\r\nInjected: 1"))
        keys = [key for _, key in heads]
        log("keys are 16 bytes", {len(base64.b64decode(key)) for key in keys} == {16})
        log("keys are new", len(set(keys)) == len(keys))
