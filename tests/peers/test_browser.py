"""A browser loads a page from a picows_c server and talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from urllib.parse import urlencode

import chromium
import pytest
from helpers import Recorder
from talk import RESETS, deflating, parameters_of, windows

from picows_c import (
    WSCloseCode,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

PAGE = Path(__file__).resolve().with_name("browser.html")
SIZES = [0, 125, 126, 65535, 65536, 1 << 20]


class Page(Recorder):
    """A connection of the page; it puts messages together, which a browser may send in pieces."""

    def __init__(self, request):
        super().__init__()
        self.request = request
        self._kind = WSMsgType.BINARY
        self._parts = []

    def on_message(self, transport, kind, message):
        pass

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._kind = frame.msg_type
        elif frame.msg_type is not WSMsgType.CONTINUATION:
            return
        self._parts.append(bytes(frame))
        if frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            self.on_message(transport, self._kind, message)


class Echo(Page):
    def on_message(self, transport, kind, message):
        transport.send(kind, message)


class Weighing(Echo):
    """Notes what each message took on the wire, in both directions."""

    def __init__(self, request):
        super().__init__(request)
        self.sizes = []
        self._received = 0

    def on_message(self, transport, kind, message):
        before = transport.stats
        super().on_message(transport, kind, message)
        sent = transport.stats.bytes_sent - before.bytes_sent
        self.sizes.append((before.bytes_received - self._received, sent))
        self._received = before.bytes_received


class Closes(Page):
    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        transport.send_close(3001, "von dort 🐄".encode())


class Report(Page):
    def __init__(self, request, report):
        super().__init__(request)
        self._report = report

    def on_message(self, transport, kind, message):
        if not self._report.done():
            self._report.set_result(json.loads(message))
        transport.send_close(WSCloseCode.OK)


class Site:
    """The page at /, and the WebSockets it asks for."""

    def __init__(self):
        self.report = asyncio.get_running_loop().create_future()
        self.pages = {}

    def __call__(self, request):
        path = request.path.decode().partition("?")[0]
        if path == "/":
            html = WSUpgradeResponse.create_ok_response(
                PAGE.read_bytes(), {"Content-Type": "text/html; charset=utf-8"}
            )
            return WSUpgradeResponseWithListener(html, None)
        kinds = {"/echo": Echo, "/closes": Closes, "/waits": Page}
        if path == "/report":
            page = Report(request, self.report)
        elif path in kinds:
            page = kinds[path](request)
        else:
            return None  # /favicon.ico, and whatever else a browser would like
        self.pages[path] = page
        return page


@pytest.fixture
def browser(need, tmp_path):
    """Return a function that shows a page of the site and returns its report."""
    program = chromium.find(need)

    async def show(net, site, path):
        url = net.url(path).replace("ws", "http", 1)
        log = tmp_path / "browser.log"
        with log.open("wb") as errors:
            async with chromium.running(program, tmp_path / "profile", url, errors=errors):
                try:
                    seen = await asyncio.wait_for(site.report, chromium.PATIENCE)
                except asyncio.TimeoutError:
                    said = log.read_text(errors="replace")
                    raise AssertionError(f"no report:\n{said}") from None
                for page in site.pages.values():
                    await page.disconnected.wait()
        assert "error" not in seen, seen
        return seen

    return show


def messages_of(seen):
    """Return the names of the echoed messages of ``seen``, which all have to be there and right."""
    names = {"text", "text, empty", "text, not ASCII"}
    names |= {f"{kind}, {size}" for kind in ("text", "binary") for size in SIZES}
    assert names <= set(seen)
    assert set(seen.values()) == {True}
    return list(seen)


async def test_page(net, browser):
    site = Site()
    async with net.serve(site):
        seen = await browser(net, site, "/")

    # The browser offered compression, and got none.
    assert "permessage-deflate" in site.pages["/echo"].request.headers["Sec-WebSocket-Extensions"]
    assert seen["echoes"].pop("extensions") == ""
    # JavaScript's close() sends no code.
    assert seen["echoes"].pop("closed") == {"code": 1005, "reason": "", "wasClean": True}
    echo = site.pages["/echo"].transport.close_handshake
    assert (echo.recv.code, echo.recv.reason) == (WSCloseCode.NO_INFO, None)
    messages_of(seen["echoes"])

    assert seen["closedByServer"] == {"code": 3001, "reason": "von dort 🐄", "wasClean": True}
    closes = site.pages["/closes"].transport.close_handshake
    assert closes.recv.code == 3001
    assert closes.recv_then_sent is False

    # What a page is told is our answer: its own code, without a reason.
    assert seen["closedByPage"] == {"code": 4002, "reason": "", "wasClean": True}
    waits = site.pages["/waits"].transport.close_handshake
    assert (waits.recv.code, waits.recv.reason) == (4002, "von hier 🐄")
    assert waits.recv_then_sent is True


async def test_compression(plain, browser):
    """One server for each setting; a page of another one talks to all of them."""
    settings = [{}, RESETS, *map(windows, range(9, 16))]
    site, pages, urls = Site(), [], []

    def factory(request):
        pages.append(Weighing(request))
        return pages[-1]

    async with contextlib.AsyncExitStack() as stack:
        for setting in settings:
            await stack.enter_async_context(plain.serve(factory, **deflating(**setting)))
            urls.append(("echo", plain.url("/")))
        await stack.enter_async_context(plain.serve(site))
        seen = await browser(plain, site, "/?" + urlencode(urls))
    assert len(seen) == len(pages) == len(settings)
    for setting, page, results in zip(settings, pages, seen):
        # The browser lets us limit its window, and does not ask for ours.
        expected = {"client_max_window_bits": 15, **setting}
        expected.pop("server_max_window_bits", None)
        assert parameters_of(results.pop("extensions")) == expected
        assert results.pop("closed")["wasClean"] is True
        sizes = dict(zip(messages_of(results), page.sizes))
        assert len(sizes) == len(results)
        bits = setting.get("server_max_window_bits", 15)
        for way in (0, 1):
            assert sizes["text, 1048576"][way] < 10_000
            if bits >= 14:
                again = sizes["noise again"][way]
                assert again > 5000 if setting is RESETS else again < 500
            assert sizes[f"near, {bits}"][way] < 1.6 * ((1 << bits) - 300)
            assert sizes[f"far, {bits}"][way] > 1.9 * (1 << bits)
