"""A headless Chromium of a test's own, and the DevTools protocol, spoken by our own client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any, Optional

from picows_c import WSListener, WSMsgType, ws_connect

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
PATIENCE = 50.0
END_TIMEOUT = 10.0
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--ignore-certificate-errors",  # of the tests' own authority
]


def find(need: Any) -> str:
    """Return the program, or skip the test."""
    return need("a browser (chromium)", next(filter(None, map(shutil.which, NAMES)), None))


@contextlib.asynccontextmanager
async def running(program: str, profile: Path, *arguments: str, errors: Any) -> Any:
    """Run a browser; its process is yielded, and ended with all of its children."""
    command = [program, *FLAGS, f"--user-data-dir={profile}", *arguments]
    # A session of its own: a browser is many processes.
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_TIMEOUT)
            except asyncio.TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


class DevTools(WSListener):
    """Calls methods of the browser, and waits for what they return."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)

    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            answer = json.loads(frame.get_payload_as_utf8_text())
            future = self._waiting.pop(answer.get("id"), None)
            if future is not None and not future.done():
                future.set_result(answer)

    async def call(self, method: str, session: Optional[str] = None, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._transport.send(WSMsgType.TEXT, json.dumps(message))
        answer = await asyncio.wait_for(self._waiting[number], PATIENCE)
        assert "error" not in answer, answer
        return answer["result"]


class Tab:
    """One page."""

    def __init__(self, tools: DevTools, session: str) -> None:
        self._tools = tools
        self._session = session

    async def do(self, script: str) -> Any:
        """Evaluate JavaScript in the page; a promise is waited for."""
        result = await self._tools.call(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until JavaScript becomes true."""
        await self.do(
            "new Promise(done => {"
            f"const look = () => ({condition}) ? done() : setTimeout(look, 10); look(); }})"
        )


@contextlib.asynccontextmanager
async def tab(program: str, profile: Path, url: str) -> Any:
    """Run a browser and show one page."""
    errors = asyncio.subprocess.PIPE
    async with running(program, profile, "--remote-debugging-port=0", errors=errors) as browser:
        said = []
        while True:
            line = (await asyncio.wait_for(browser.stderr.readline(), PATIENCE)).decode()
            assert line, f"no DevTools: {said}"
            found = re.match(r"DevTools listening on (ws://\S+)", line)
            if found:
                break
            said.append(line)
        # Nobody reads what it says afterwards, but it may say it.
        draining = asyncio.ensure_future(browser.stderr.read())
        transport, tools = await ws_connect(DevTools, found[1], assemble_messages=True)
        try:
            target = await tools.call("Target.createTarget", url="about:blank")
            attached = await tools.call(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            page = Tab(tools, attached["sessionId"])
            # It returns when the new document is there; not when that is complete.
            await tools.call("Page.navigate", attached["sessionId"], url=url)
            await page.until("document.readyState === 'complete'")
            yield page
        finally:
            transport.disconnect()
            await transport.wait_disconnected()
            browser.terminate()
            await draining
