"""Every callback does everything: nothing crashes, and there is exactly one end."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest
from helpers import Recorder
from raw import CLOSE, PONG, ROLES, TEXT, against, soon

from picows_c import WSMsgType

MIB = 1 << 20
CALLBACKS = [
    "on_ws_connected",
    "on_ws_frame",
    "on_ws_disconnected",
    "on_ws_error",
    "pause_writing",
    "resume_writing",
    "send_user_specific_ping",
    "is_user_specific_pong",
]


def send(listener, transport):
    transport.send(WSMsgType.TEXT, "from inside")
    transport.send_ping(b"")


def send_much(listener, transport):
    transport.send(WSMsgType.BINARY, bytes(300_000))


def close(listener, transport):
    transport.send_close(3333, "from inside")


def disconnect(listener, transport):
    transport.disconnect()


def abort(listener, transport):
    transport.disconnect(False)


def fail(listener, transport):
    raise RuntimeError("from inside")


def pause_and_resume(listener, transport):
    transport.pause_reading()
    transport.resume_reading()


def cork(listener, transport):
    with transport.cork():
        transport.send(WSMsgType.TEXT, "corked")
        transport.send(WSMsgType.BINARY, bytes(70_000))


def notify(listener, transport):
    transport.notify_user_specific_pong_received()


def forget(listener, transport):
    """Drop what the listener holds, and collect."""
    listener.kept.clear()
    gc.collect()


def ask(listener, transport):
    """Look at everything."""
    for name in dir(transport):
        if not name.startswith("_"):
            getattr(transport, name)


ACTIONS = [
    send, send_much, close, disconnect, abort, fail, pause_and_resume, cork, notify, forget, ask,
]  # fmt: skip


class Everything(Recorder):
    """Acts in one callback, as often as that is called."""

    def __init__(self, where: str, action) -> None:
        super().__init__()
        self.where, self.action = where, action
        self.count = 0
        self.kept: list = [object()]
        self.depth = 0

    def act(self, where: str, transport) -> None:
        # An action may lead to the same callback again: 50 levels of it prove nothing more.
        if where == self.where and transport is not None and self.depth < 3:
            self.count += 1
            self.depth += 1
            try:
                self.action(self, transport)
            finally:
                self.depth -= 1

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self.act("on_ws_connected", transport)

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.kept.append((transport, frame))
        self.act("on_ws_frame", transport)
        if frame.msg_type == WSMsgType.TEXT and bytes(frame) == b"raise":
            raise ValueError("for on_ws_error")

    def on_ws_disconnected(self, transport):
        super().on_ws_disconnected(transport)
        self.act("on_ws_disconnected", transport)

    def on_ws_error(self, transport, exc, where):
        self.act("on_ws_error", transport)

    def pause_writing(self):
        self.act("pause_writing", self.transport)

    def resume_writing(self):
        self.act("resume_writing", self.transport)

    def send_user_specific_ping(self, transport):
        transport.send(WSMsgType.TEXT, "ping")
        self.act("send_user_specific_ping", transport)

    def is_user_specific_pong(self, frame):
        self.act("is_user_specific_pong", self.transport)
        return frame.msg_type == WSMsgType.PONG


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("where", CALLBACKS)
@pytest.mark.parametrize("role", ROLES)
async def test_everything_from_everywhere(plain, role, where, action, caplog):
    listener = Everything(where, action)
    measured = None
    writes = where in ("pause_writing", "resume_writing")
    # The answer to an automatic ping has a deadline; where the answer matters the ping is one that
    # waits.
    options = {
        "enable_auto_ping": where == "send_user_specific_ping",
        "auto_ping_idle_timeout": 0.02,
        "auto_ping_reply_timeout": 0.02,
        "close_timeout": 0.2,
    }
    async with against(plain, role, listener, **options) as peer:
        transport = listener.transport
        with contextlib.suppress(ConnectionError, EOFError):
            if writes:
                for _ in range(12):
                    transport.send(WSMsgType.BINARY, bytes(MIB))
                transport.send(WSMsgType.TEXT, "ping")
            peer.write(peer.frame(TEXT, b"one"), peer.frame(PONG, b"two"), peer.frame(TEXT))
            if where == "is_user_specific_pong":
                measured = asyncio.ensure_future(transport.measure_roundtrip_time(1))
            if writes or where in ("send_user_specific_ping", "is_user_specific_pong"):
                # The ping, and whatever the action sent.
                while (await peer.next()).payload != b"ping":
                    pass
            peer.write(peer.frame(PONG), peer.frame(TEXT, b"raise"), peer.frame(TEXT, b"three"))
            peer.write(peer.frame(CLOSE, b"\x03\xe8"))
            await peer.gone()
        peer.abort()
        await soon(listener.disconnected.wait())
        assert listener.events.count("disconnected") == 1
        assert listener.events[-1] == "disconnected"
        assert transport.disconnect_cause is not None
        assert listener.count > 0, "the callback was never called"
        if measured is not None:
            await asyncio.gather(measured, return_exceptions=True)
    caplog.clear()
