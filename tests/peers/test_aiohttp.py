"""picows_c and aiohttp."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from talk import (
    ANY_WINDOW,
    EXTENSIONS,
    NO_STATUS,
    Implementation,
    Talk,
    Theirs,
    agreed,
    check_window,
    deflating,
    meet,
    there,
)

try:
    import aiohttp
    from aiohttp import web
except ImportError:
    aiohttp = web = None


class AiohttpEnd(Theirs):
    def __init__(self, websocket, answer=None):
        self.answer = answer
        self._websocket = websocket
        self._seen = None
        self.done = asyncio.Event()

    @staticmethod
    def answer_to(code):
        return 1000

    @property
    def compresses(self):
        return bool(self._websocket.compress)

    async def _next(self, *kinds):
        while True:
            message = await self._websocket.receive()
            if message.type is not aiohttp.WSMsgType.PING:
                assert message.type in kinds, message
                return message
            await self._websocket.pong(message.data)

    async def send(self, message):
        if isinstance(message, str):
            await self._websocket.send_str(message)
        else:
            await self._websocket.send_bytes(message)

    async def receive(self):
        return (await self._next(aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)).data

    async def ping(self, payload):
        await self._websocket.ping(payload)
        assert bytes((await self._next(aiohttp.WSMsgType.PONG)).data) == payload

    async def close(self, code, reason):
        await self._websocket.close(code=code, message=reason.encode())
        self._seen = self._websocket.close_code, ""

    async def closed(self):
        if self._seen is None:
            message = await self._next(aiohttp.WSMsgType.CLOSE)
            self._seen = message.data or NO_STATUS, message.extra
        self.done.set()
        return self._seen


class Aiohttp(Implementation):
    @contextlib.asynccontextmanager
    async def connect(self, net, path, terms):
        options = {"autoping": False, "max_msg_size": 0, "compress": 0}
        if terms is not None:
            # All that it can ask for.
            options["compress"] = terms.get("server_max_window_bits", 15)
        if net.scheme == "wss":
            options["ssl"] = net.certificates.client()
        answers = []

        async def note(session, context, parameters):
            answers.append(parameters.response.headers.get(EXTENSIONS))

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(note)
        session = aiohttp.ClientSession(trace_configs=[trace])
        async with session, session.ws_connect(net.url(path), **options) as websocket:
            yield AiohttpEnd(websocket, *answers)

    @contextlib.asynccontextmanager
    async def serve(self, net, terms):
        accepted = asyncio.Queue()
        ends = []

        async def handle(request):
            websocket = web.WebSocketResponse(
                autoping=False, max_msg_size=0, compress=terms is not None
            )
            await websocket.prepare(request)
            end = AiohttpEnd(websocket)
            ends.append(end)
            accepted.put_nowait(end)
            await end.done.wait()
            return websocket

        application = web.Application()
        application.router.add_get("/talk", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            context = net.certificates.server() if net.scheme == "wss" else None
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            yield runner.addresses[0][1], accepted.get
        finally:
            for end in ends:
                end.done.set()
            await runner.cleanup()


@pytest.fixture
def other(need):
    need("the package aiohttp", aiohttp)
    return Aiohttp()


class TestAiohttp(Talk):
    test_fragments_from_the_peer = None  # each of its frames is a message
    test_compressed_fragments_from_the_peer = None
    test_close_without_a_code_from_the_peer = None  # it always sends one
    # Its server asks for nothing, its client only for the server's window.
    test_no_context_is_taken_over_as_the_peer_asks = None
    test_windows_that_the_peer_asks_for = None

    # Its client does not close a TLS transport whose CLOSE had no code; Python 3.9 and 3.10 tell.
    @pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
    async def test_close_without_a_code_from_us(self, net, other, role):
        await super().test_close_without_a_code_from_us(net, other, role)


@ANY_WINDOW
async def test_window_that_its_client_asks_for(plain, other, bits):
    terms = {"server_max_window_bits": bits}
    async with meet(plain, other, "server", terms=terms, **deflating()) as (ours, theirs):
        if bits < 15:
            assert agreed(ours, theirs, "server")["server_max_window_bits"] == bits
        await check_window(there, ours, theirs, bits)
