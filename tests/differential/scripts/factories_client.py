"""Listener factories of a client: how they are called, and what they do wrong."""

import functools

from kit import accept, failure, raw_server

DIFFERS = {
    "factory-called-once": ["calls of a TypeError inside"],
}


async def main(ws, log):
    calls = []

    class Listener(ws.WSListener):
        def __init__(self, *args):
            calls.append([type(arg).__name__ for arg in args])

    class Refusing(ws.WSListener):
        def __init__(self):
            raise RuntimeError("refused")

    def two(request, response):
        calls.append([request.method, request.path, int(response.status)])
        return ws.WSListener()

    def none():
        calls.append([])
        return ws.WSListener()

    def defaults(a=1, b=2):
        calls.append([type(a).__name__, type(b).__name__])
        return ws.WSListener()

    def type_error(request=None, response=None):
        calls.append([])
        raise TypeError("inside")

    def one(request):
        return ws.WSListener()

    def key_error():
        raise KeyError("inside")

    ends = []

    async def handle(peer):
        await accept(peer)
        ends.append(await peer.ended())

    async with raw_server(handle) as port:
        for name, factory in {
            "the class itself": ws.WSListener,
            "a class that takes anything": Listener,
            "two arguments": two,
            "none": none,
            "both with defaults": defaults,
            "a partial": functools.partial(two),
            "one argument": one,
            "a TypeError inside": type_error,
            "a KeyError inside": key_error,
            "a constructor that raises": Refusing,
            "returns an object": object,
            "returns None": lambda: None,
        }.items():
            calls.clear()
            made = await failure(ws.ws_connect(factory, f"ws://127.0.0.1:{port}/"), 1.0)
            if isinstance(made, tuple):
                transport, listener = made
                log(name, [isinstance(listener, ws.WSListener), transport.is_client_side])
                transport.disconnect(False)
                await transport.wait_disconnected()
            else:
                log(name, type(made).__name__)
            log(f"calls of {name}", calls)
