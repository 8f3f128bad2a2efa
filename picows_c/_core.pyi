"""The data path of picows_c in C."""

import asyncio
import contextvars
import socket
import sys
from collections.abc import Callable, Iterable
from ssl import MemoryBIO, SSLObject
from typing import Any, Final, Optional, Protocol, Union

from _typeshed import structseq
from typing_extensions import Buffer, CapsuleType, disjoint_base, final

from .enums import WSCloseCode, WSMsgType
from .listener import WSListener
from .protocol import WSProtocol

_Payload = Union[str, Buffer, None]
_Field = Union[str, list[str], None]

_C_API: CapsuleType
POLLER: Optional[str]
PONG_NONE: int
PONG_OPCODE: int
PONG_ASK: int

def broadcast(
    transports: Iterable[WSTransport], msg_type: int, message: _Payload
) -> list[WSTransport]:
    """Send one message to many connections of a server (RFC 6455, 5.6).

    The frame is built once, and compressed once for all who agreed on the same
    permessage-deflate without context takeover; who takes its context over gets it
    uncompressed.

    transports: an iterable of WSTransport, all of servers of this loop.
    msg_type: TEXT or BINARY; also PING or PONG.
    message: as for send().

    Returns the list of those that did not get it, in their order: more than their
    max_write_buffer_size would wait to be written (nothing is counted as dropped,
    and nobody is disconnected), they are inside a fragmented message, or closing or
    closed, or their compressor raised. What goes wrong with one connection concerns
    no other: sys.unraisablehook is told.

    Raises TypeError (what is no WSTransport, the type of an argument), ValueError
    (a client's transport, another msg_type, a control frame over 125 bytes), and
    RuntimeError (a connection of another thread); then nothing was sent.
    """

def mask_kernel() -> str:
    """Return the name of the mask kernel of new connections: "avx512", "avx2",
    "sse2", "neon" or "generic". The environment variable PICOWS_C_MASK forces one.
    """

def _request_fields(head: bytes, /) -> list[tuple[str, str]]:
    """The header fields of a request that was received, as pairs."""

def _forked() -> None:
    """Runs in a forked child: forget all mask keys."""

@final
class WSFrame(Buffer):
    """One received WebSocket frame (RFC 6455, 5.2).

    A frame, and every memoryview, slice or array over it, may be kept for as
    long as you like and used on any thread: its bytes never change. A kept frame
    of more than 128 bytes keeps the read block it arrived in, at most 64 KiB
    (more only where the frame itself is larger).

    The frame is a read-only buffer of its payload: bytes(frame),
    memoryview(frame) and numpy.frombuffer(frame, ...) work.
    """

    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

    @property
    def msg_type(self) -> WSMsgType:
        """WSMsgType: the opcode (RFC 6455, 5.2)."""
    @property
    def fin(self) -> bool:
        """bool: whether this is the last frame of its message (RFC 6455, 5.4)."""
    @property
    def rsv1(self) -> bool:
        """bool: the first reserved bit (RFC 6455, 5.2); set by extensions."""
    @property
    def rsv2(self) -> bool:
        """bool: the second reserved bit."""
    @property
    def rsv3(self) -> bool:
        """bool: the third reserved bit."""
    @property
    def last_in_buffer(self) -> bool:
        """bool: whether nothing more will be delivered from what has been received so far."""
    @property
    def payload_size(self) -> int:
        """int: the payload's length in bytes."""
    @property
    def tail_size(self) -> int:
        """int: how many bytes had been received after this frame."""
    def get_payload_as_bytes(self) -> bytes:
        """Return a copy of the payload as bytes."""
    def get_payload_as_utf8_text(self) -> str:
        """Return the payload decoded as UTF-8.

        Raises UnicodeDecodeError. If that leaves the callback of a TEXT frame, the
        connection is failed with close code 1007 (RFC 6455, 8.1).
        """
    def get_payload_as_ascii_text(self) -> str:
        """Return the payload decoded as ASCII. Raises UnicodeDecodeError."""
    def get_payload_as_memoryview(self) -> memoryview:
        """Return a read-only memoryview of the payload, without a copy.

        The view keeps the frame alive; it may be kept.
        """
    def get_close_code(self) -> WSCloseCode:
        """Return the WSCloseCode of a CLOSE frame, WSCloseCode.NO_INFO where it is
        empty (RFC 6455, 5.5.1). Raises ValueError for any other frame.
        """
    def get_close_message(self) -> Optional[bytes]:
        """Return the reason of a CLOSE frame as bytes, None where there is none.
        Raises ValueError for any other frame.
        """
    def get_close_reason(self) -> Optional[str]:
        """Return the reason of a CLOSE frame as str, None where there is none.
        Raises ValueError for any other frame.
        """

@disjoint_base
class WSTransport:
    """The sending side of one connection, as far as bytes go; what is awaited is
    added by picows_c.WSTransport.
    """

    def __init__(
        self,
        owner: WSProtocol,
        target: asyncio.Transport,
        fd: int,
        is_client: bool,
        auto_pong: bool,
        traced: bool,
        write_limit: int,
        drops: bool,
    ) -> None: ...
    @property
    def underlying_transport(self) -> asyncio.Transport:
        """asyncio.Transport: what carries the bytes."""
    @property
    def write_buffer_size(self) -> int:
        """int: bytes that wait to be written, corked ones included; 0 at the end."""
    @property
    def is_client_side(self) -> bool:
        """bool: whether this end opened the connection; its frames are masked (RFC 6455, 5.3)."""
    @property
    def is_close_frame_sent(self) -> bool:
        """bool: whether a CLOSE frame was sent."""
    @property
    def _is_close_frame_received(self) -> bool:
        """bool: whether a CLOSE frame was received."""
    @property
    def _owner(self) -> Optional[WSProtocol]:
        """The protocol, None once the connection is lost."""
    def send(
        self,
        msg_type: int,
        message: _Payload,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        """Send one frame (RFC 6455, 5.2 and 5.6).

        message: str (sent as UTF-8), any C-contiguous buffer, or None for an empty
        payload. It is copied or in the system's hands when send() returns.
        fin: whether the frame ends its message. The fragments of a message follow
        each other as CONTINUATION frames (5.4); only control frames may stand between.

        Never blocks. Does nothing once CLOSE was sent or the connection is lost.
        send(WSMsgType.CLOSE, ...) is checked and goes the way of send_close().

        Raises TypeError (the type of an argument), ValueError (a reserved opcode, RSV
        bits without an extension, fragments out of order, a control frame over 125
        bytes or with fin=False), UnicodeEncodeError (a lone surrogate), RuntimeError
        (another thread than the connection's).
        """
    def send_reuse_external_bytearray(
        self,
        msg_type: int,
        buffer: Buffer,
        msg_offset: int,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        """Send buffer[msg_offset:] without a copy, as send() does otherwise.

        buffer: bytearray, or another writable C-contiguous buffer. Up to 14 bytes before
        msg_offset are overwritten with the frame's head, and a client masks the payload
        where it lies: its content is lost.
        msg_offset: where the payload begins, at least 14.

        Raises as send(); ValueError also for None, for CLOSE, and for an offset below 14
        or beyond the buffer's end.
        """
    def send_ping(self, message: _Payload = None) -> None:
        """Send a PING with up to 125 bytes (RFC 6455, 5.5.2). Raises as send()."""
    def send_pong(self, message: _Payload = None) -> None:
        """Send a PONG with up to 125 bytes (RFC 6455, 5.5.3). Raises as send()."""
    def send_close(self, close_code: int = ..., close_message: _Payload = None) -> None:
        """Send CLOSE (RFC 6455, 5.5.1 and 7.1.2); the second call does nothing.

        close_code: 1000-1003, 1007-1014 or 3000-4999; NO_INFO sends an empty CLOSE.
        close_message: up to 123 bytes of UTF-8, only together with a code.

        The connection ends when the peer has answered, at the latest after
        close_timeout; disconnect() does not wait for the answer.
        Raises ValueError for other codes and reasons, RuntimeError on another thread.
        """
    @staticmethod
    def _check_close(close_code: int, close_message: _Payload, /) -> None:
        """Raise what send_close() would."""
    def _check_thread(self, method: str, /) -> None:
        """Raise RuntimeError off the connection's thread; the argument is the method's name."""
    def _stop_sending(self) -> None:
        """Send nothing more: the way out is about to end."""
    def _lost(self) -> None:
        """The connection is lost: send nothing, forget the owner."""
    def _cork(self) -> None:
        """Keep frames until as many _uncork() calls came."""
    def _uncork(self) -> None:
        """Let corked frames leave where nobody else holds them."""
    def _flush(self) -> None:
        """Let corked frames leave; the cork stays."""
    def _counters(self) -> tuple[int, int, int, int, int, int, int]:
        """Frames, messages and bytes sent; the same received; messages dropped."""
    def _write_paused(self, paused: bool, /) -> None:
        """The way out crossed its high (True) or low (False) watermark."""

class _Compressor(Protocol):
    def compress(self, data: Buffer, /) -> bytes: ...
    def flush(self, mode: int, /) -> bytes: ...

class _Decompressor(Protocol):
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: Buffer, max_length: int, /) -> bytes: ...

@final
class Deflate:
    """permessage-deflate (RFC 7692) of one connection. make_compressor() and
    make_decompressor(zdict) make its contexts when they are first needed; flush is
    the mode that ends a fragment. pool is None where the compressor's context is taken
    over, else a list of compressors that others use as well, each for one message;
    resets_in says that each message gets a new decompressor. Messages below threshold
    bytes are not compressed.
    """

    def __new__(
        cls,
        make_compressor: Callable[[], _Compressor],
        make_decompressor: Callable[[bytes], _Decompressor],
        flush: int,
        pool: Optional[list[Any]],
        resets_in: bool,
        threshold: int,
    ) -> Deflate: ...

@final
class RequestFields(structseq[_Field], tuple[_Field, ...]):
    """What the opening handshake reads of a request: None where there is no such field,
    a list where there are several."""

    if sys.version_info >= (3, 10):
        __match_args__: Final = (
            "host",
            "transfer_encoding",
            "content_length",
            "upgrade",
            "connection",
            "version",
            "key",
            "origin",
            "protocol",
            "extensions",
        )

    @property
    def host(self) -> _Field:
        """The header field host."""
    @property
    def transfer_encoding(self) -> _Field:
        """The header field transfer-encoding."""
    @property
    def content_length(self) -> _Field:
        """The header field content-length."""
    @property
    def upgrade(self) -> _Field:
        """The header field upgrade."""
    @property
    def connection(self) -> _Field:
        """The header field connection."""
    @property
    def version(self) -> _Field:
        """The header field sec-websocket-version."""
    @property
    def key(self) -> _Field:
        """The header field sec-websocket-key."""
    @property
    def origin(self) -> _Field:
        """The header field origin."""
    @property
    def protocol(self) -> _Field:
        """The header field sec-websocket-protocol."""
    @property
    def extensions(self) -> _Field:
        """The header field sec-websocket-extensions."""

@final
class Callbacks:
    """The C functions that a listener carries."""

    def on_ws_connected(self, transport: WSTransport, /) -> None:
        """Call the C function of that name."""
    def on_ws_disconnected(self, transport: WSTransport, /) -> None:
        """Call the C function of that name."""

@disjoint_base
class WSReader:
    """The receiving side of one connection: get_buffer() and buffer_updated() of
    asyncio.BufferedProtocol. The package's protocol derives from it and
    supplies what happens once per connection.
    """

    def __init__(self, is_client: bool, buffer_size: int) -> None: ...
    def get_buffer(self, sizehint: int, /) -> memoryview:
        """Return a writable memoryview for the next read."""
    def buffer_updated(self, nbytes: int, /) -> None:
        """Take nbytes that were written to the last get_buffer()'s view."""
    def _start_frames(
        self,
        transport: WSTransport,
        listener: WSListener,
        max_frame_size: int,
        extended: bool,
        assembles: bool,
        max_message_size: int,
        deflate: Optional[Deflate],
        coalesces: bool,
        /,
    ) -> None:
        """The handshake is done: what follows are frames; extended allows RSV bits,
        assembles asks for whole messages, deflate is None or a Deflate, coalesces
        lets what the callbacks of one read send leave together.
        """
    def _stop_frames(self) -> None:
        """Deliver nothing more; discard what comes."""
    def _take_rest(self) -> bytes:
        """Take out and return the bytes that are not parsed yet."""
    def _read_body(self) -> None:
        """Give what follows the head to _body_received(), until _stop_frames()."""
    def _watch_input(self) -> None:
        """Note from now on when input comes."""
    def _input(self) -> tuple[int, float]:
        """Return how often input came since _watch_input(), and how many seconds
        ago it last did.
        """
    def _expect_pong(self, how: int, /) -> None:
        """Say how to know the answer to a ping: none is expected (PONG_NONE), it is a
        PONG (PONG_OPCODE), the listener knows (PONG_ASK).
        """
    def _hold_frames(self, hold: bool, /) -> None:
        """Hold back frames, also those already read, or let them go: _go_on()."""
    def _go_on(self, frames: int, /) -> bool:
        """Deliver so many of the frames that were held back; whether more are left."""
    def _free(self) -> None:
        """The connection is lost: give everything back."""

@disjoint_base
class Poller:
    """All sockets of a loop behind one descriptor; internal. The package's Poller
    derives from it and adds what talks to the loop.
    """

    def __init__(self) -> None: ...
    @property
    def count(self) -> int:
        """int: how many sockets it has, listening ones too."""
    @property
    def direct(self) -> int:
        """int: the descriptor that the loop watches itself for input; -1 for none."""
    _nests: bool
    @property
    def turns(self) -> int:
        """int: how often the loop has called."""
    def fileno(self) -> int:
        """Return the descriptor that the loop watches, or -1."""
    def _turn(self) -> None:
        """Serve every connection that is ready, within the budget."""
    def _turn_direct(self) -> None:
        """Serve the connection that the loop watches itself."""
    def _forked(self) -> None:
        """In a child: close our copies, touch nothing else."""
    def _drop(self, fd: int, /) -> None:
        """Close a descriptor, together with the stream or acceptor that has taken it."""

@final
class PollerHandle:
    """What the loop holds of a Poller: called when it is ready; internal."""

    def __new__(cls, poller: Poller, /) -> PollerHandle: ...
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

@final
class Acceptor:
    """A listening socket on a poller; internal."""

    def __new__(cls, poller: Poller, fd: int, server: Any) -> Acceptor: ...
    def close(self) -> None:
        """Listen no more."""
    def resume(self) -> None:
        """Accept again after _exhausted()."""

@disjoint_base
class Stream:
    """A connected socket on a poller: the surface of asyncio.Transport. The package's
    Stream derives from it and adds get_extra_info().
    """

    def __init__(
        self,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        protocol: asyncio.BaseProtocol,
        context: contextvars.Context,
    ) -> None: ...
    def write(self, data: Buffer, /) -> None:
        """Send bytes now, or as soon as the system takes them."""
    def writelines(self, list_of_data: Iterable[Buffer], /) -> None:
        """write() each of them."""
    def write_eof(self) -> None:
        """End our side behind what waits (close_notify first, with TLS); reading goes on."""
    def can_write_eof(self) -> bool:
        """Return True."""
    def close(self) -> None:
        """Send what waits, then end the connection."""
    def abort(self) -> None:
        """End the connection now."""
    def is_closing(self) -> bool:
        """Return whether the end has begun."""
    def is_reading(self) -> bool:
        """Return whether input is taken."""
    def pause_reading(self) -> None:
        """Take no more input; what was read but not delivered waits too."""
    def resume_reading(self) -> None:
        """Go on, with what waits first."""
    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high) in bytes."""
    def set_write_buffer_limits(
        self, high: Optional[int] = None, low: Optional[int] = None
    ) -> None:
        """Set the watermarks of pause_writing() and resume_writing(), in bytes."""
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol, None at the end."""
    def set_protocol(self, protocol: asyncio.BaseProtocol, /) -> None:
        """Call another protocol from now on."""
    def _start(self) -> None:
        """Begin to read."""
    def _start_tls(
        self,
        wrap: Callable[[], SSLObject],
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        done: Callable[[Optional[BaseException]], None],
        /,
    ) -> SSLObject:
        """Put a TLS filter on top and begin its handshake; wrap() returns the SSLObject,
        and so does this; done(None or exception).
        """
    def _tls_is_direct(self) -> bool:
        """Return whether OpenSSL is called past the SSLObject."""
    def _bind(self, transport: WSTransport, busy_poll: float, /) -> None:
        """Be the way out of a WSTransport; ask for so many seconds after input."""
    def _lost(self, exc: Optional[BaseException], /) -> None:
        """Tell the protocol; scheduled by the stream."""
    def _tls_failed(self, exc: BaseException, /) -> None:
        """Tell who waits for TLS; scheduled."""
    def _socket(self) -> socket.socket:
        """Return a new _socket.socket over a copy of the descriptor; OSError at the end."""
    def _fileno(self) -> int:
        """Return the descriptor, -1 at the end."""
