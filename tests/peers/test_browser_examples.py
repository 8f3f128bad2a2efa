"""A browser opens the room of examples/broadcast.py, and talks to examples/echo.py."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import chromium
import pytest
from helpers import Recorder
from programs import example, lasting_port

from picows_c import WSMsgType, ws_connect

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sessions of processes")

# Runs in the page, as anybody's script would.
ECHOES = """
(async (url) => {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const next = (name) => new Promise((done) => { socket["on" + name] = done; });
  await next("open");
  const seen = {};
  for (const text of ["", "Grüße 🐄", "x".repeat(1 << 20)]) {
    socket.send(text);
    seen["text, " + text.length] = (await next("message")).data === text;
  }
  for (const size of [0, 125, 126, 65536, 1 << 20]) {
    const bytes = new Uint8Array(size).map((_, at) => at * 7);
    socket.send(bytes);
    const back = new Uint8Array((await next("message")).data);
    seen["binary, " + size] = back.length === size && back.every((b, at) => b === bytes[at]);
  }
  socket.close(3001, "bye");
  const { code, wasClean } = await next("close");
  return { seen, code, wasClean };
})(URL)
"""


async def off_loop(function, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def said(text):
    """Say in JavaScript that the page shows a line."""
    return f"[...document.querySelectorAll('#said li')].some(li => li.textContent === {text!r})"


async def echoes(page):
    """The page talks to another server, too: nothing of ours asks where it came from."""
    with example("echo.py", "--port", 0) as server:
        host, port = await off_loop(server.address)
        report = await page.do(ECHOES.replace("URL", repr(f"ws://{host}:{port}/")))
    assert len(report["seen"]) == 8
    assert set(report["seen"].values()) == {True}
    assert (report["code"], report["wasClean"]) == (3001, True)


async def test_the_room(need, tmp_path):
    program = chromium.find(need)
    port = lasting_port()
    url = f"127.0.0.1:{port}/"
    async with contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(example("broadcast.py", "--port", port))
        await off_loop(server.address)
        page = await stack.enter_async_context(
            chromium.tab(program, tmp_path / "profile", "http://" + url)
        )
        await page.until(said("1 in the room"))
        await echoes(page)
        assert "permessage-deflate" in await page.do("socket.extensions")

        transport, other = await ws_connect(
            Recorder, f"ws://{url}room", assemble_messages=True, compression=True
        )
        await page.until(said("2 in the room"))
        transport.send(WSMsgType.TEXT, "Grüße 🐄")
        await page.until(said("Grüße 🐄"))
        await page.do("text.value = 'from the page'; document.querySelector('#say button').click()")
        heard = []
        while not heard or heard[-1] != "from the page":
            heard.append((await other.frames.get()).get_payload_as_utf8_text())
        assert heard == ["2 in the room", "Grüße 🐄", "from the page"]

        # Too long: the server closes with a code, and the page comes back by itself.
        await page.do("said.replaceChildren(); socket.send('x'.repeat(5000))")
        await page.until("state.textContent === 'closed (1009), coming back'")
        await page.until(said("2 in the room"))

        # The server is gone without a word; later there is another one.
        await page.do("said.replaceChildren()")
        await off_loop(server.stop, signal.SIGKILL)
        await transport.wait_disconnected()
        await page.until("state.textContent === 'closed (1006), coming back'")
        again = stack.enter_context(example("broadcast.py", "--port", port))
        await off_loop(again.address)
        await page.until(said("1 in the room"))
        assert await page.do("state.textContent") == "connected"
