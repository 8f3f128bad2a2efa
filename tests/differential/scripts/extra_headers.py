"""extra_headers: what may be given, and what reaches the wire."""

from kit import IMPATIENCE, accepting, outcome, raw_server, recorder, without_port
from multidict import CIMultiDict

DIFFERS = {
    "handshake-headers": ["a second Upgrade", "a subprotocol", "permessage-deflate"],
    "headers-wrong-type": ["int value", "bytes name", "int"],
    "injection": ["CR LF in a value", "LF in a value", "NUL in a value", "CR LF in a name"],
    "header-name": ["a space in a name", "an empty name"],
}

PAIRS = [("X-One", "1"), ("X-Two", "2"), ("X-One", "3")]
CASES = {
    "none": None,
    "empty": {},
    "dict": {"X-One": "1", "x-two": "zwei"},
    "pairs": PAIRS,
    "tuples of tuples": tuple(PAIRS),
    "multidict": CIMultiDict(PAIRS),
    "iterator": iter(PAIRS),
    "lists": [["X-One", "1"]],
    "Host": {"Host": "example.com"},
    "host in lower case": {"host": "example.com:81"},
    "another Origin": {"Origin": "https://example.com"},
    "a second Upgrade": {"upgrade": "h2c"},
    "a subprotocol": {"Sec-WebSocket-Protocol": "chat"},
    "permessage-deflate": {"Sec-WebSocket-Extensions": "permessage-deflate"},
    "empty value": {"X-One": ""},
    "not ASCII": {"X-One": "höhe"},
    "int value": {"X-One": 1},
    "bytes name": {b"X-One": "1"},
    "int": 7,
    "CR LF in a value": {"X-One": "1\r\nInjected: 1"},
    "LF in a value": {"X-One": "1\nInjected: 1"},
    "NUL in a value": {"X-One": "1\0"},
    "CR LF in a name": {"X-One\r\nInjected": "1"},
    "a space in a name": {"X One": "1"},
    "an empty name": {"": "1"},
}


async def main(ws, log):
    heads = []

    async def handle(peer):
        raw = await peer.reader.readuntil(b"\r\n\r\n")
        heads.append(raw.decode("utf-8"))
        key = heads[-1].split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        heads[-1] = without_port(heads[-1].replace(key, "KEY"))
        peer.send(accepting(key))

    async with raw_server(handle) as port:
        for name, headers in CASES.items():
            listener = recorder(ws)
            url = f"ws://127.0.0.1:{port}/"
            connecting = ws.ws_connect(lambda x=listener: x, url, extra_headers=headers)
            made = await outcome(connecting, IMPATIENCE)
            if not isinstance(made, tuple):
                log(name, made)
                continue
            log(name, heads[-1])
            made[0].disconnect(False)
            await listener.until("disconnected")
