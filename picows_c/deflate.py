"""permessage-deflate (RFC 7692): its configuration, its negotiation, and what goes to the core.

Both negotiations are without I/O: headers in, headers and an Agreed out.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, Optional, Union

from . import _core
from .extensions import Extension

NAME = "permessage-deflate"

_SERVER_RESETS = "server_no_context_takeover"
_CLIENT_RESETS = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"

# RFC 7692, 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
_BITS = re.compile(r"[89]|1[0-5]")
_MAX_BITS = 15
# zlib makes no raw deflate stream with a window of 256 bytes, and neither do its likes; but all of
# them read one.
_MIN_OUT_BITS = 9


class _Default(int):
    """A number that nobody wrote: what a client may give up where its server cannot keep to it."""


_NEEDED = ("compressobj", "decompressobj", "DEFLATED", "Z_SYNC_FLUSH", "Z_FULL_FLUSH")


@dataclass(frozen=True)
class PermessageDeflate:
    """How to compress messages (RFC 7692): the value of ``compression=`` where True is not enough.

    The names with ``server_`` are about what the server compresses, those with ``client_`` about
    what the client does, whichever side we are. The object may be shared by any number of
    connections, copied and pickled.

    :param level: of the backend: 0 to 9 (-1 is its default) for zlib and zlib-ng, 0 to 3 for isal;
        None for the backend's default.
    :param mem_level: 1 to 9: how much memory a compressor takes beside its window.
    :param server_max_window_bits: 9 to 15, the base-2 logarithm of the server's window in bytes
        (7.1.2.1); None for no limit of ours, 15. A server uses no larger one. A client asks for it:
        by default it is content with any window of the server's, but a number that you write is a
        condition, and a server that does not know the parameter will then not agree on compression.
    :param client_max_window_bits: the same for the client's window (7.1.2.2). A client uses no
        larger one. A server asks for it, where the client's offer permits it to.
    :param server_no_context_takeover: the server compresses each message by itself (7.1.1.1):
        worse, but nobody keeps a context between messages. A client asks for it.
    :param client_no_context_takeover: the same for the client (7.1.1.2).
    :param threshold: bytes that a message must have to be compressed at all; 0 for all.
    :param backend: zlib or a module like it, such as ``isal.isal_zlib`` or ``zlib_ng.zlib_ng``.
    :raises TypeError: a field of the wrong type, a backend that lacks something.
    :raises ValueError: a field out of its range, a level that the backend does not have.
    """

    level: Optional[int] = None
    mem_level: int = 5
    server_max_window_bits: Optional[int] = _Default(12)
    client_max_window_bits: Optional[int] = 12
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    threshold: int = 64
    backend: ModuleType = zlib
    # Whether a server may use a larger window than a client asks for.
    _is_lenient: bool = field(init=False, repr=False)
    # By window bits: compressors between messages, of connections that take no context over. The
    # full flush that ends a message leaves nothing that the next one could refer to.
    _free: dict[int, list[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the fields; the backend itself knows its levels."""
        missing = [name for name in _NEEDED if not hasattr(self.backend, name)]
        if missing:
            raise TypeError(f"backend {self.backend!r} lacks {', '.join(missing)}")
        _check_range("mem_level", self.mem_level, 1, 9)
        for name in (_SERVER_BITS, _CLIENT_BITS):
            bits = getattr(self, name)
            if bits is not None:
                _check_range(name, bits, _MIN_OUT_BITS, _MAX_BITS)
        is_lenient = isinstance(self.server_max_window_bits, _Default)
        object.__setattr__(self, "_is_lenient", is_lenient)
        _check_range("threshold", self.threshold, 0, sys.maxsize)
        if self.level is not None:
            _check_type("level", self.level)
        try:
            self._new_compressor(_MAX_BITS)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self.backend!r} has no level {self.level}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        # A module is not pickled or copied, and compressors are not shared with a copy.
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        if isinstance(self.backend, ModuleType):
            given["backend"] = self.backend.__name__
        return _again, (type(self), given)

    def _new_compressor(self, bits: int) -> Any:
        """Make an object for raw deflate, with which nobody else has anything to do."""
        level = {} if self.level is None else {"level": self.level}
        backend: Any = self.backend
        return backend.compressobj(
            method=backend.DEFLATED, wbits=-bits, memLevel=self.mem_level, **level
        )


def _again(kind: type[PermessageDeflate], given: dict[str, Any]) -> PermessageDeflate:
    backend = given["backend"]
    if isinstance(backend, str):
        backend = importlib.import_module(backend)
    return kind(**{**given, "backend": backend})


def _check_type(name: str, value: object) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be int, not {type(value).__name__}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    _check_type(name, value)
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")


_DEFAULT = PermessageDeflate()


def make_deflate(compression: Union[bool, PermessageDeflate]) -> Optional[PermessageDeflate]:
    """Check ``compression=``; return None where there is to be none. Raises TypeError."""
    if isinstance(compression, PermessageDeflate):
        return compression
    if not isinstance(compression, bool):
        raise TypeError(
            f"compression must be bool or PermessageDeflate, not {type(compression).__name__}"
        )
    # One object for all, so that they share their compressors.
    return _DEFAULT if compression else None


@dataclass(frozen=True)
class Agreed:
    """What both sides agreed on, from our point of view.

    config: ours.
    out_window_bits, in_window_bits: 8 to 15, of what we compress, and of what the peer does.
    out_takeover, in_takeover: whether a message may refer to those before it.
    """

    config: PermessageDeflate
    out_window_bits: int
    in_window_bits: int
    out_takeover: bool
    in_takeover: bool

    def make(self) -> _core.Deflate:
        """Make the core's part for one connection; (de)compressors come when they are needed."""
        config = self.config
        backend: Any = config.backend
        pool = None
        if not self.out_takeover:
            pool = config._free.setdefault(self.out_window_bits, [])
        return _core.Deflate(
            functools.partial(config._new_compressor, self.out_window_bits),
            functools.partial(backend.decompressobj, -self.in_window_bits),
            backend.Z_SYNC_FLUSH if pool is None else backend.Z_FULL_FLUSH,
            pool,
            not self.in_takeover,
            # Without compression any window is small enough.
            config.threshold if self.out_window_bits >= _MIN_OUT_BITS else sys.maxsize,
        )


# ---- negotiation ----

_Parameters = dict[str, Optional[int]]


def _parse(extension: Extension, is_offer: bool) -> _Parameters:
    """Return the parameters, None for those without a value. Raises ValueError.

    RFC 7692, 7: "A server MUST decline an extension negotiation offer for this extension if any of
    the following conditions are met", and much the same for a client that gets the response: "an
    extension parameter not defined for use in an offer", "an extension parameter with an invalid
    value", "multiple extension parameters with the same name".
    """
    found: _Parameters = {}
    for name, value in extension.parameters:
        if name in found:
            raise ValueError(f"{name} is there twice")
        if name in (_SERVER_RESETS, _CLIENT_RESETS):
            # 7.1.1: "This extension parameter has no value."
            is_valid = value is None
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            # 7.1.2.2, for offers: "This parameter has no value or a decimal integer value".
            may_lack = is_offer and name == _CLIENT_BITS
            is_valid = may_lack if value is None else _BITS.fullmatch(value) is not None
        else:
            raise ValueError(f"unknown parameter {name}")
        if not is_valid:
            raise ValueError(f"{name} with the value {value!r}")
        found[name] = None if value is None else int(value)
    return found


def _write(parameters: _Parameters) -> str:
    """Return the extension as it stands in the header."""
    named = (name if value is None else f"{name}={value}" for name, value in parameters.items())
    return "; ".join((NAME, *named))


def _limit(bits: Optional[int]) -> int:
    """Return the window that a parameter leaves: 32,768 bytes where it is absent (7.1.2)."""
    return _MAX_BITS if bits is None else bits


def make_offer(config: PermessageDeflate) -> str:
    """Return what a client puts into Sec-WebSocket-Extensions.

    RFC 7692, 5: "This set of elements MAY include multiple PMCEs with the same extension name to
    offer the possibility to use the same algorithm with different configuration parameters."
    """
    offer: _Parameters = {}
    if config.server_no_context_takeover:
        offer[_SERVER_RESETS] = None
    if config.client_no_context_takeover:
        offer[_CLIENT_RESETS] = None
    # 15 is what a server may use anyway (7.1.2.1): some do not repeat it in their answer.
    if _limit(config.server_max_window_bits) < _MAX_BITS:
        offer[_SERVER_BITS] = config.server_max_window_bits
    if config.client_max_window_bits is not None:
        offer[_CLIENT_BITS] = config.client_max_window_bits
    if not config._is_lenient:
        return _write(offer)
    # Nobody wrote the limit of the server's window, and many servers do not know it.
    without = {name: value for name, value in offer.items() if name != _SERVER_BITS}
    return f"{_write(offer)}, {_write(without)}"


def check_answer(config: PermessageDeflate, answer: Sequence[Extension]) -> Optional[Agreed]:
    """Return what a server's answer to make_offer() agrees on, None for no compression.

    Raises ValueError for an answer after which the connection must fail.
    """
    if not answer:
        return None
    # 5: a client fails the connection for an extension that it did not offer; and it offered one.
    if len(answer) > 1 or answer[0].name != NAME:
        raise ValueError(f"the only extension that was offered is one {NAME}")
    got = _parse(answer[0], False)
    # 7.1.1.1: "A server accepts an extension negotiation offer that includes the
    # "server_no_context_takeover" extension parameter by including the
    # "server_no_context_takeover" extension parameter in the corresponding extension negotiation
    # response".
    if config.server_no_context_takeover and _SERVER_RESETS not in got:
        raise ValueError(f"{_SERVER_RESETS} was offered, and is not in the answer")
    # 7.1.2.1: "by including the "server_max_window_bits" extension parameter in the extension
    # negotiation response to send back to the client with the same or smaller value as the offer."
    # Else it has accepted the alternative, where there is one.
    in_bits = _limit(got.get(_SERVER_BITS))
    offered = config.server_max_window_bits
    if in_bits > _limit(offered) and not config._is_lenient:
        raise ValueError(
            f"{_SERVER_BITS}={offered} was offered, and the answer does not keep to it"
        )
    # 7.1.2.2: "If a received extension negotiation offer doesn't have the
    # "client_max_window_bits" extension parameter, the corresponding extension negotiation response
    # to the offer MUST NOT include the "client_max_window_bits" extension parameter."
    if _CLIENT_BITS in got and config.client_max_window_bits is None:
        raise ValueError(f"{_CLIENT_BITS} was not offered")
    return Agreed(
        config,
        # 7.1.2.2: the value of the offer is a promise, even where the answer has "a value greater
        # than the one in the extension negotiation offer" or none.
        out_window_bits=min(_limit(config.client_max_window_bits), _limit(got.get(_CLIENT_BITS))),
        in_window_bits=in_bits,
        # 7.1.1.2: and so is this.
        out_takeover=not config.client_no_context_takeover and _CLIENT_RESETS not in got,
        in_takeover=_SERVER_RESETS not in got,
    )


def choose_offer(
    config: PermessageDeflate, offers: Sequence[Extension]
) -> Optional[tuple[str, Agreed]]:
    """Return a server's answer to the first offer that can be accepted, None where none can.

    RFC 7692, 5: "The order of elements is important as it specifies the client's preference. An
    element preceding another element has higher preference."
    """
    for offer in offers:
        if offer.name == NAME:
            accepted = _accept(config, offer)
            if accepted is not None:
                return accepted
    return None


def _accept(config: PermessageDeflate, offer: Extension) -> Optional[tuple[str, Agreed]]:
    try:
        asked = _parse(offer, True)
    except ValueError:
        return None
    out_bits = min(_limit(asked.get(_SERVER_BITS)), _limit(config.server_max_window_bits))
    # 7.1.2.1: "A server declines an extension negotiation offer with this parameter if the server
    # doesn't support it."
    if out_bits < _MIN_OUT_BITS:
        return None
    answer: _Parameters = {}
    # 7.1.1.1: "A server accepts an extension negotiation offer that includes the
    # "server_no_context_takeover" extension parameter by including the" same in the response; and
    # it may do so where it was not offered.
    if _SERVER_RESETS in asked or config.server_no_context_takeover:
        answer[_SERVER_RESETS] = None
    # 7.1.1.2: the same for the client's, where an offer says that it will not take over anyway.
    if _CLIENT_RESETS in asked or config.client_no_context_takeover:
        answer[_CLIENT_RESETS] = None
    # 7.1.2.1: a server may name its window where it was not asked to, too; but there are clients
    # that do not expect it (websocket-sharp), and it need not be said: all can read a smaller one.
    if _SERVER_BITS in asked:
        answer[_SERVER_BITS] = out_bits
    # 7.1.2.2: "If a received extension negotiation offer doesn't have the "client_max_window_bits"
    # extension parameter, the corresponding extension negotiation response to the offer MUST NOT
    # include the "client_max_window_bits" extension parameter."
    in_bits = _MAX_BITS
    if _CLIENT_BITS in asked and config.client_max_window_bits is not None:
        in_bits = min(_limit(asked[_CLIENT_BITS]), config.client_max_window_bits)
        answer[_CLIENT_BITS] = in_bits
    return _write(answer), Agreed(
        config,
        out_window_bits=out_bits,
        in_window_bits=in_bits,
        out_takeover=_SERVER_RESETS not in answer,
        in_takeover=_CLIENT_RESETS not in answer,
    )
