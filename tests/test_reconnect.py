"""reconnect(): what is waited for and what is raised, how long, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import random
import socket
import ssl

import pytest
from helpers import EchoListener, Recorder
from raw import RawServer, soon

from picows_c import (
    WSBackoff,
    WSCloseCode,
    WSDisconnectKind,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSProxyError,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    is_lasting_error,
    reconnect,
)
from picows_c.reconnect import retry_after


class Time:
    """A clock that only sleeping, and the test, moves on."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Script:
    """A server's listener factory that gives each request the next answer."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, WSUpgradeResponse):
            return WSUpgradeResponseWithListener(answer, None)
        return answer


class Closes(WSListener):
    """Ends the connection as soon as it is open."""

    def on_ws_connected(self, transport):
        transport.send_close(WSCloseCode.TRY_AGAIN_LATER)


def refusal(status, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return WSUpgradeResponse.create_error_response(status, b"", headers)


def steady(**options):
    """Return a WSBackoff without chance: each delay is half of its ceiling."""
    return WSBackoff(random=lambda: 0.5, **options)


# ---- how long ----


def test_backoff_grows_to_its_maximum():
    backoff = WSBackoff(2, 100, factor=3, random=lambda: 0.5)
    assert [backoff.next_delay() for _ in range(6)] == [1, 3, 9, 27, 50, 50]
    assert backoff.ceiling == 100
    backoff.reset()
    assert (backoff.ceiling, backoff.next_delay()) == (2, 1)


def test_backoff_is_drawn_from_all_of_it():
    rng = random.Random(7)
    delays = [WSBackoff(8, random=rng.random).next_delay() for _ in range(2000)]
    eighths = [sum(n <= delay < n + 1 for delay in delays) for n in range(8)]
    assert sum(eighths) == 2000
    assert min(eighths) > 150


def test_backoff_never_overflows():
    backoff = WSBackoff(factor=1e300, maximum=5, random=lambda: 1.0)
    assert [backoff.next_delay() for _ in range(5)] == [1, 5, 5, 5, 5]


def test_backoff_asks_how_long_a_connection_lived():
    backoff = steady(reset_after=10)
    assert [backoff.next_delay() for _ in range(3)] == [0.5, 1, 2]
    backoff.lived(9.9)
    assert backoff.next_delay() == 4
    backoff.lived(10)
    assert backoff.next_delay() == 0.5


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"initial": 0}),
        (ValueError, {"initial": 5, "maximum": 4}),
        (ValueError, {"factor": 0.5}),
        (ValueError, {"reset_after": -1}),
        (ValueError, {"maximum": float("nan")}),
        (TypeError, {"initial": "1"}),
        (TypeError, {"maximum": None}),
    ],
)
def test_backoff_arguments(error, arguments):
    with pytest.raises(error):
        WSBackoff(**arguments)


# ---- what lasts ----


def status_error(status, **headers):
    response = refusal(status, **headers) if status >= 400 else WSUpgradeResponse(status)
    return WSInvalidStatusError("refused", b"", b"", response)


LASTING = [
    WSInvalidURL("x", "bad"),
    ValueError("an argument"),
    TypeError("an argument"),
    ImportError("an extra"),
    RuntimeError("a callback"),
    WSProtocolError(1002, "nonsense"),
    WSInvalidMessageError("no HTTP"),
    WSInvalidMessageError("no HTTP", b"SSH-2.0-503"),
    WSInvalidHeaderError("wrong key", "Sec-WebSocket-Accept"),
    WSInvalidUpgradeError("no upgrade", "Upgrade"),
    WSHandshakeError("a redirect to nowhere", b"", b"", WSUpgradeResponse(302)),
    WSProxyError("wants a password", 407),
    WSProxyError("forbids it", 403),
    ssl.SSLCertVerificationError(1, "expired"),
    socket.gaierror(socket.EAI_NONAME, "no such name"),
    PermissionError(13, "no"),
    *map(status_error, (200, 204, 302, 400, 401, 403, 404, 410, 418, 426, 431, 499)),
]
PASSING = [
    ConnectionRefusedError(),
    ConnectionResetError(),
    TimeoutError(),
    asyncio.TimeoutError(),
    OSError(113, "no route"),
    FileNotFoundError(2, "a unix socket that is not there yet"),
    ssl.SSLEOFError(8, "eof"),
    ssl.SSLError(1, "an alert"),
    socket.gaierror(socket.EAI_AGAIN, "later"),
    WSHandshakeError("closed during the handshake"),
    WSProxyError("SOCKS says no"),
    WSProxyError("bad gateway", 502),
    *map(status_error, (408, 425, 429, 500, 502, 503, 504, 520, 599)),
]


def test_which_errors_last():
    for error in LASTING:
        assert is_lasting_error(error) is True, repr(error)
    for error in PASSING:
        assert is_lasting_error(error) is False, repr(error)


async def first(connections):
    return await soon(connections.__anext__())


async def test_an_untrusted_certificate_lasts(plain):
    plain.scheme = "wss"
    async with plain.serve(lambda request: EchoListener()):
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            await first(reconnect(Recorder, plain.url(), transport=plain.way, ssl_context=context))


@pytest.mark.parametrize("status", [401, 404])
async def test_a_refusal_lasts(plain, status):
    script = Script(refusal(status))
    async with plain.serve(script):
        with pytest.raises(WSInvalidStatusError) as caught:
            await first(reconnect(Recorder, plain.url(), sleep=Time().sleep))
    assert caught.value.response.status == status
    assert len(script.requests) == 1


async def test_wrong_arguments_are_said_at_once():
    with pytest.raises(WSInvalidURL):
        reconnect(Recorder, "http://127.0.0.1/")
    with pytest.raises(TypeError):
        reconnect(Recorder, None)
    for name, value, error in [
        ("max_attempts", 0, ValueError),
        ("max_attempts", "2", TypeError),
        ("max_retry_after", None, TypeError),
        ("max_retry_after", -1, ValueError),
        ("logger_name", 5, TypeError),
    ]:
        with pytest.raises(error):
            reconnect(Recorder, "ws://127.0.0.1/", **{name: value})
    with pytest.raises(TypeError, match="unexpected keyword"):
        await first(reconnect(Recorder, "ws://127.0.0.1/", nonsense=1))


# ---- what passes ----


async def test_passing_errors_are_waited_out(plain):
    """A peer that hangs up, one that is overloaded, then one that works."""
    clock = Time()
    async with RawServer(plain) as server:
        connections = reconnect(
            Recorder, plain.url(), backoff=steady(), sleep=clock.sleep, clock=clock
        )
        waiting = asyncio.ensure_future(first(connections))
        (await server.accept()).abort()
        peer = await server.accept()
        await peer.read_head()
        peer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await server.upgrade()
        transport, listener = await waiting
        assert listener.transport is transport
        assert clock.slept == [0.5, 1.0]
        await connections.aclose()


async def test_nobody_listens(plain):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        clock = Time()
        connections = reconnect(
            Recorder,
            f"ws://127.0.0.1:{sock.getsockname()[1]}/",
            max_attempts=4,
            backoff=steady(),
            sleep=clock.sleep,
        )
        with pytest.raises(ConnectionRefusedError):
            await first(connections)
        assert clock.slept == [0.5, 1.0, 2.0]


async def test_no_answer_is_waited_out():
    """The system accepts, nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        clock = Time()
        url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        with pytest.raises(asyncio.TimeoutError):
            await first(
                reconnect(Recorder, url, open_timeout=0.01, max_attempts=3, sleep=clock.sleep)
            )
        assert len(clock.slept) == 2


def test_retry_after_is_read():
    def asked(value, status=429):
        return retry_after(status_error(status, Retry_After=value), 1_000_000.0)

    assert asked("120") == asked(" 120 ", 503) == 120
    assert asked("0") == 0
    assert asked(email.utils.formatdate(1_000_090, usegmt=True)) == 90
    assert asked(email.utils.formatdate(999_999, usegmt=True)) == 0
    assert asked("9" * 5000) > 1e11
    for nonsense in ("", "soon", "-5", "1.5", "٣", "Fri, 99 Nov 2026 99:99:99 GMT", "1e3"):
        assert asked(nonsense) == 0, nonsense
    assert retry_after(ConnectionResetError(), 0) == 0
    assert retry_after(status_error(503), 0) == 0


async def test_retry_after_is_honoured_within_a_bound(plain):
    script = Script(
        refusal(429, Retry_After="7"), refusal(503, Retry_After="86400"), EchoListener()
    )
    clock = Time()
    async with plain.serve(script):
        connections = reconnect(
            Recorder, plain.url(), backoff=steady(), max_retry_after=60, sleep=clock.sleep
        )
        await first(connections)
        # The delay of the backoff comes on top, so that not all come at the same moment.
        assert clock.slept == [7.5, 61.0]
        await connections.aclose()


# ---- connections one after the other ----


async def test_the_next_one_comes_when_one_has_ended(plain):
    """The body runs for each; the listener is a new one; short lives do not reset the backoff."""
    clock = Time()
    seen = []
    async with plain.serve(lambda request: Closes()):
        async for transport, listener in reconnect(
            Recorder, plain.url(), backoff=steady(), sleep=clock.sleep, clock=clock
        ):
            seen.append((transport, listener))
            if len(seen) == 3:
                clock.now += 10  # this one lived
            if len(seen) == 5:
                break
            await soon(transport.wait_disconnected())
    assert clock.slept == [0.5, 1.0, 0.5, 1.0]
    assert len({listener for _, listener in seen}) == 5
    for transport, listener in seen[:4]:
        assert transport.disconnect_cause.kind is WSDisconnectKind.PEER_CLOSE
        assert listener.events[0] == "connected"
        assert listener.events[-1] == "disconnected"


async def test_an_empty_body_will_do(plain):
    opened = []

    def factory(request):
        opened.append(request)
        return Closes() if len(opened) < 4 else None

    async with plain.serve(factory):
        with pytest.raises(WSInvalidStatusError):
            async for _ in reconnect(Recorder, plain.url(), sleep=Time().sleep):
                pass
    assert len(opened) == 4


async def test_attempts_count_from_the_last_connection_on(plain):
    busy = refusal(503)
    script = Script(busy, Closes(), busy, Closes(), busy, busy)
    clock = Time()
    count = 0
    async with plain.serve(script):
        with pytest.raises(WSInvalidStatusError):
            async for _ in reconnect(Recorder, plain.url(), max_attempts=2, sleep=clock.sleep):
                count += 1
    assert count == 2
    assert script.answers == []


async def test_a_callback_that_raises_ends_the_loop(plain):
    class Raises(Recorder):
        def on_ws_frame(self, transport, frame):
            raise LookupError("a fault of ours")

    async def talk(**options):
        count = 0
        async for transport, _ in reconnect(
            Raises, plain.url(), sleep=Time().sleep, logger_name="quiet", **options
        ):
            count += 1
            if count == 3:
                return
            transport.send(WSMsgType.TEXT, "x")

    logging.getLogger("picows_c.quiet").setLevel(logging.CRITICAL)
    async with plain.serve(lambda request: EchoListener()):
        with pytest.raises(LookupError):
            await talk()
        # Unless told otherwise.
        await talk(is_lasting=lambda error: False)


# ---- leaving ----


async def test_leaving_closes_the_connection(plain):
    """Whichever way; the server sees 1001, and no task is left (conftest looks)."""

    class Stop(Exception):
        pass

    async def by_break():
        async for _ in reconnect(Recorder, plain.url()):
            break

    async def by_exception():
        async for _ in reconnect(Recorder, plain.url()):
            raise Stop

    async def by_cancelling_the_body():
        async for _ in reconnect(Recorder, plain.url()):
            opened.set()
            await asyncio.get_running_loop().create_future()

    async def by_cancelling_the_loop():
        async for _ in reconnect(Recorder, plain.url()):
            opened.set()

    async def by_closing_the_iterator():
        connections = reconnect(Recorder, plain.url())
        await connections.__anext__()
        await connections.aclose()

    ways = (by_break, by_exception, by_cancelling_the_body, by_cancelling_the_loop)
    for leave in (*ways, by_closing_the_iterator):
        opened = asyncio.Event()
        peer = Recorder()
        async with plain.serve(lambda request, peer=peer: peer):
            task = asyncio.ensure_future(leave())
            if leave in (by_cancelling_the_body, by_cancelling_the_loop):
                await soon(opened.wait())
                task.cancel()
            with contextlib.suppress(Stop, asyncio.CancelledError):
                await soon(task)
            await soon(peer.disconnected.wait())
            cause = peer.transport.disconnect_cause
            assert (cause.kind, cause.code) == (WSDisconnectKind.PEER_CLOSE, 1001), leave


async def test_cancelled_while_it_waits(plain):
    """In sleep(), and in ws_connect(): nothing follows."""
    sleeping = asyncio.Event()

    async def sleep(seconds):
        sleeping.set()
        await asyncio.get_running_loop().create_future()

    async with RawServer(plain) as server:
        task = asyncio.ensure_future(first(reconnect(Recorder, plain.url(), sleep=sleep)))
        (await server.accept()).abort()
        await soon(sleeping.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        task = asyncio.ensure_future(first(reconnect(Recorder, plain.url(), sleep=sleep)))
        peer = await server.accept()
        await peer.read_head()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await peer.gone()
        assert server.count == 2


async def test_nothing_happens_before_it_is_iterated(plain):
    async with RawServer(plain) as server:
        connections = reconnect(Recorder, plain.url())
        await asyncio.sleep(0)
        assert server.count == 0
        await connections.aclose()


# ---- what is said of it ----


async def test_log(plain, caplog):
    script = Script(refusal(503), Closes(), refusal(404))
    caplog.set_level(logging.INFO, "picows_c.mine")
    async with plain.serve(script):
        url = plain.url("/secret?token=1").replace("//", "//user:password@")
        with pytest.raises(WSInvalidStatusError):
            async for _ in reconnect(
                Recorder, url, backoff=steady(), sleep=Time().sleep, logger_name="mine"
            ):
                pass
    lines = [r.getMessage() for r in caplog.records if "next attempt" in r.getMessage()]
    assert len(lines) == 2
    where = f"127.0.0.1:{plain.port}"
    assert lines[0].startswith(f"no connection to {where}: WSInvalidStatusError(")
    assert lines[0].endswith("; next attempt in 0.5 s")
    assert lines[1] == f"connection to {where} ended: PEER_CLOSE; next attempt in 1.0 s"
    assert "secret" not in caplog.text
    assert "password" not in caplog.text
