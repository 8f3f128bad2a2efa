"""Callbacks that are bound to the listener itself, not to its class."""

from __future__ import annotations

import asyncio

import pytest
from helpers import Recorder
from multidict import CIMultiDict
from raw import PONG, ROLES, TEXT, against, complaints, soon

from picows_c import (
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)


def bound(heard: list[str]) -> WSListener:
    """Make a listener of the plain class, each callback of it bound by an attribute."""
    told = Recorder()
    listener = WSListener()
    listener.connected, listener.disconnected = told.connected, told.disconnected

    def on_ws_connected(transport):
        listener.transport = transport
        told.on_ws_connected(transport)
        heard.append("on_ws_connected")

    def on_ws_frame(transport, frame):
        heard.append("on_ws_frame")
        raise ValueError("for on_ws_error")

    def on_ws_error(transport, exc, where):
        heard.append(f"on_ws_error {where}")

    def on_ws_disconnected(transport):
        told.on_ws_disconnected(transport)
        heard.append("on_ws_disconnected")

    def pause_writing():
        heard.append("pause_writing")

    def resume_writing():
        heard.append("resume_writing")

    def send_user_specific_ping(transport):
        transport.send(WSMsgType.TEXT, "ping?")

    def is_user_specific_pong(frame):
        return frame.msg_type == WSMsgType.TEXT

    for callback in (
        on_ws_connected, on_ws_frame, on_ws_error, on_ws_disconnected, pause_writing,
        resume_writing, send_user_specific_ping, is_user_specific_pong,
    ):  # fmt: skip
        setattr(listener, callback.__name__, callback)
    return listener


@pytest.mark.parametrize("role", ROLES)
async def test_each_callback_may_be_an_attribute_of_the_instance(net, role, caplog):
    heard: list[str] = []
    listener = bound(heard)
    async with against(net, role, listener, disconnect_on_exception=False) as peer:
        for _ in range(16):
            listener.transport.send(WSMsgType.BINARY, bytes(1 << 20))
        for _ in range(16):
            await peer.next()
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        await peer.expect(TEXT, b"ping?")
        peer.write(peer.frame(PONG), peer.frame(TEXT, b"pong!"))
        assert len(await soon(measuring)) == 1
    assert heard == [
        "on_ws_connected",
        "pause_writing",
        "resume_writing",
        "on_ws_frame",
        "on_ws_error on_ws_frame",
        "on_ws_disconnected",
    ]
    assert complaints(caplog) == []


def test_a_listener_beside_what_is_no_upgrade():
    """It would never hear of anything."""
    for status in (200, 204, 302, 304, 400, 404, 503):
        response = WSUpgradeResponse(status, CIMultiDict(), None)
        with pytest.raises(ValueError, match=f"listener must be None beside status {status}"):
            WSUpgradeResponseWithListener(response, WSListener())
        assert WSUpgradeResponseWithListener(response, None).listener is None
    with pytest.raises(ValueError, match="listener cannot be None for 101"):
        WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), None)
