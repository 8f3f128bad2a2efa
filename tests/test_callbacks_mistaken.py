"""Callbacks and factories that would never do anything are errors, not silence."""

from __future__ import annotations

import asyncio
import functools
import logging
import warnings

import pytest
from helpers import Recorder
from raw import ROLES, TEXT, RawServer, against, complaints, exchange, row, soon
from wire import request_bytes

from picows_c import (
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)

CALLBACKS = [
    "is_user_specific_pong",
    "on_ws_connected",
    "on_ws_disconnected",
    "on_ws_error",
    "on_ws_frame",
    "pause_writing",
    "resume_writing",
    "send_user_specific_ping",
]


async def coroutine(*_):
    """Would never run."""


async def asynchronous_generator(*_):
    yield


def generator(*_):
    yield


class AsyncCallable:
    async def __call__(self, *_):
        """Would never run."""


MISTAKES = [
    coroutine,
    asynchronous_generator,
    generator,
    functools.partial(coroutine),
    AsyncCallable(),
    staticmethod(coroutine),
]


def bindable(mistake):
    return mistake.__func__ if isinstance(mistake, staticmethod) else mistake


# ---- callbacks ----


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_class_with_such_a_callback_is_not_made(name):
    for mistake in MISTAKES:
        with row(mistake), pytest.raises(TypeError, match=f"^Mine.{name} is an? .*never run"):
            type("Mine", (WSListener,), {name: mistake})
        mixin = type("Mixin", (), {name: mistake})
        with row(mistake), pytest.raises(TypeError, match=rf"^Mine\.{name} is"):
            type("Mine", (mixin, WSListener), {})


@pytest.mark.parametrize("name", CALLBACKS)
async def test_a_server_refuses_a_listener_with_such_a_callback(net, caplog, name):
    listener = Recorder()
    ours = WSUpgradeResponse.create_101_response()
    for factory in (
        lambda request: listener,
        lambda request: WSUpgradeResponseWithListener(ours, listener),
    ):
        async with net.serve(factory):
            for mistake in MISTAKES:
                setattr(listener, name, bindable(mistake))
                caplog.clear()
                first, _, body = await exchange(net, request_bytes())
                assert (first.split()[1], body) == ("500", b"")
                (record,) = complaints(caplog)
                assert record.levelno == logging.ERROR
                assert f"{name} of Recorder is a" in str(record.exc_info[1])
    assert listener.events == []


@pytest.mark.parametrize("name", CALLBACKS)
async def test_a_client_refuses_a_listener_with_such_a_callback(net, name):
    async with net.serve(Recorder):
        for mistake in MISTAKES:
            listener = Recorder()
            setattr(listener, name, bindable(mistake))
            with pytest.raises(TypeError, match=rf"^{name} of Recorder is an? .*never run"):
                await net.connect(lambda listener=listener: listener)
            assert listener.events == []


@pytest.mark.parametrize("role", ROLES)
async def test_a_callback_that_on_ws_connected_binds(net, role):
    class Binding(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            self.on_ws_frame = self.frame_came

        async def frame_came(self, transport, frame):
            """Would never run."""

        def on_ws_error(self, transport, exc, where):
            self.events.append(f"{where}: {exc}")

    listener = Binding()
    async with against(net, role, listener) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        assert await peer.rest() == b""
    assert listener.events[1].startswith("on_ws_connected: on_ws_frame of ")
    assert listener.events[2:] == ["disconnected"]


def test_a_method_that_no_listener_has():
    with pytest.warns(UserWarning, match=r"Odd\.on_ws_message is never called.* on_ws_frame,") as w:

        class Odd(Recorder):
            on_ws_count = 0

            def on_ws_message(self, transport, frame):
                """Is never called."""

    assert len(w) == 1
    assert w[0].filename == __file__
    with pytest.warns(UserWarning, match=r"Both\.on_ws_close is never called"):
        type("Both", (type("Mixin", (), {"on_ws_close": generator}), WSListener), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The class was warned of.
        type("Derived", (Odd,), {"on_ws_frame": lambda *_: None, "_on_ws_own": coroutine})


# ---- factories ----


async def test_factories_that_are_coroutine_functions(way):
    text = "ws_listener_factory is a coroutine function"
    for factory in (coroutine, functools.partial(coroutine)):
        with pytest.raises(TypeError, match=text):
            await ws_create_server(factory, "127.0.0.1", 0, transport=way)
        with pytest.raises(TypeError, match=text):
            await ws_connect(factory, "ws://127.0.0.1:1/", transport=way)


async def test_factories_that_return_coroutines(net, caplog):
    """They are closed: what nobody awaits would be warned of (and each warning fails a test)."""
    text = "ws_listener_factory returned a coroutine: "
    async with net.serve(lambda request: coroutine()):
        first, _, body = await exchange(net, request_bytes())
        assert (first.split()[1], body) == ("500", b"")
        (record,) = complaints(caplog)
        assert text in str(record.exc_info[1])
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(lambda: coroutine(1)))
        peer = await server.upgrade()
        await peer.gone()
        with pytest.raises(TypeError, match=text):
            await soon(connecting)


async def test_a_class_is_a_factory_on_both_sides(net):
    made = []

    class Plain(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            made.append(self)

    class WithRequest(Plain):
        def __init__(self, request):
            super().__init__()
            self.request = request

    class WithDefault(WithRequest):
        def __init__(self, request=None):
            super().__init__(request)

    for server_side, request_is_given in [
        (Plain, None),
        (WithRequest, True),
        (WithDefault, True),
        (functools.partial(WithRequest, "mine"), False),
        (lambda **options: Plain(), None),
        (lambda *given: WithRequest(given[0]), True),
    ]:
        made.clear()
        async with net.serve(server_side):
            transport, client = await net.connect(Plain, "/where")
            (server,) = (listener for listener in made if listener is not client)
            if request_is_given is not None:
                path = getattr(server.request, "path", None)
                assert path == (b"/where" if request_is_given else None)
            transport.disconnect()
            await soon(server.disconnected.wait())


async def test_a_factory_of_a_server_that_wants_more(way):
    for factory in (lambda request, response: None, lambda *, request: None):
        with pytest.raises(TypeError, match="must take the request, or no argument"):
            await ws_create_server(factory, "127.0.0.1", 0, transport=way)
