"""The opening handshake (RFC 6455, 4) without I/O: requests, responses and their rules.

What is parsed comes from the C core's head parser; here the headers get their meaning.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Callable, Optional, Union

from multidict import CIMultiDict

from . import _core
from .deflate import NAME as DEFLATE
from .deflate import Agreed, PermessageDeflate, check_answer, choose_offer
from .errors import (
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
)
from .extensions import EXTENSIONS, TOKEN, Extension, parse_extensions
from .url import WSParsedURL, basic_auth, shown_url

if TYPE_CHECKING:
    from .listener import WSListener

WSHeadersLike = Union[Mapping[str, str], Iterable[tuple[str, str]]]

# RFC 6455, 1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# RFC 9110, 5.5: what a field value may not hold.
# Surrogates but those that stand for bytes cannot be sent.
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udc7f\udd00-\udfff]")
# 16 bytes in base64 (RFC 6455, 4.1).
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
# RFC 9112, 3 and 4, without what nobody sends.
_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ [!-~]+")
_STATUS_LINE = re.compile(rb"[!-~]+ [1-9][0-9]{2} [ -~]*")
_NOT_IN_ORIGIN = re.compile(r"[^\x21-\x7e]")


# RFC 9112, 3.2.2: absolute-form. User information has no place in one (RFC 9110, 4.2.4).
_ABSOLUTE = re.compile(rb"(?i:https?|wss?)://([^/?#@]+)([/?#].*)?")

# What a page, or a socket, can be asked for with.
_METHODS = "GET, HEAD, OPTIONS"

# (To ask the enumeration takes two Python calls on CPython 3.11.)
_SWITCHING_PROTOCOLS = HTTPStatus.SWITCHING_PROTOCOLS
# RFC 6455, 4.2.2
_SWITCHING = (("Connection", "upgrade"), ("Upgrade", "websocket"))

# A field of _core.RequestFields.
Field = Union[str, list[str], None]


class _Message:
    """The header fields of a request or a response, made when they are first asked for."""

    __slots__ = ("_first", "_headers")

    # What they are made of: pairs, or the head of a request as it was received.
    _first: Union[bytes, tuple[tuple[str, str], ...]]
    _headers: Optional[CIMultiDict[str]]

    @property
    def headers(self) -> CIMultiDict[str]:
        """The header fields, in their order."""
        if self._headers is None:
            first = self._first
            pairs = _core._request_fields(first) if isinstance(first, bytes) else first
            self._headers = CIMultiDict(pairs)
            self._first = ()
        return self._headers

    @headers.setter
    def headers(self, headers: CIMultiDict[str]) -> None:
        self._headers = headers


class WSUpgradeRequest(_Message):
    """An HTTP request, as the peer sent it or as it is sent.

    method, path (with its query) and version are bytes; headers is case-insensitive and keeps
    repeated names.
    """

    __slots__ = ("method", "path", "version")

    method: bytes
    path: bytes
    version: bytes

    def __init__(
        self,
        method: bytes = b"GET",
        path: bytes = b"/",
        version: bytes = b"HTTP/1.1",
        headers: Optional[CIMultiDict[str]] = None,
    ) -> None:
        self.method = method
        self.path = path
        self.version = version
        self._headers = headers
        self._first = ()

    def to_bytes(self) -> bytes:
        """Return the request as it goes over the wire; ValueError for what would break it."""
        first = b" ".join((self.method, self.path, self.version))
        if not _REQUEST_LINE.fullmatch(first):
            raise ValueError("method, target and version of a request are ASCII without spaces")
        return b"%b\r\n%b\r\n" % (first, _fields_bytes(self.headers))


class WSUpgradeResponse(_Message):
    """An HTTP response to an upgrade request: 101 Switching Protocols, or anything else.

    status is an HTTPStatus, a plain int where HTTPStatus has no such member; headers is
    case-insensitive and keeps repeated names; version and body are bytes, body None for none. The
    object can be sent any number of times; sending does not change it.
    """

    __slots__ = ("body", "status", "version")

    version: bytes
    status: Union[HTTPStatus, int]
    body: Optional[bytes]

    def __init__(
        self,
        status: Union[HTTPStatus, int] = HTTPStatus.OK,
        headers: Optional[CIMultiDict[str]] = None,
        body: Optional[bytes] = None,
        version: bytes = b"HTTP/1.1",
    ) -> None:
        self.version = version
        self.status = _status(status)
        self.body = body
        self._headers = headers
        self._first = ()

    @staticmethod
    def create_ok_response(
        body: Optional[bytes] = None, extra_headers: Optional[WSHeadersLike] = None
    ) -> WSUpgradeResponse:
        """Make a 200 OK; Content-Type is ``text/plain; charset=utf-8`` unless given."""
        headers = make_headers(extra_headers)
        headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        return WSUpgradeResponse(HTTPStatus.OK, headers, body)

    @staticmethod
    def create_error_response(
        status: Union[HTTPStatus, int],
        body: Optional[bytes] = None,
        extra_headers: Optional[WSHeadersLike] = None,
    ) -> WSUpgradeResponse:
        """Make a response with an error status. Raises ValueError unless 400 <= status <= 999."""
        if not 400 <= status <= 999:
            raise ValueError(f"invalid error response code {status}, can be only >=400")
        return WSUpgradeResponse(status, make_headers(extra_headers), body)

    @staticmethod
    def create_redirect_response(
        status: Union[HTTPStatus, int],
        location: str,
        extra_headers: Optional[WSHeadersLike] = None,
    ) -> WSUpgradeResponse:
        """Make a redirect to ``location``. Raises ValueError unless the status is 3xx."""
        if not 300 <= status <= 399:
            raise ValueError(f"invalid redirect response code {status}, can be only 3xx")
        headers = make_headers(extra_headers)
        headers["Location"] = _checked_value("Location", location)
        return WSUpgradeResponse(status, headers)

    @staticmethod
    def create_101_response(extra_headers: Optional[WSHeadersLike] = None) -> WSUpgradeResponse:
        """Make a 101 Switching Protocols (RFC 6455, 4.2.2)."""
        response = WSUpgradeResponse(_SWITCHING_PROTOCOLS)
        if extra_headers is None:
            response._first = _SWITCHING
        else:
            response._headers = make_headers(extra_headers)
            for name, value in _SWITCHING:
                response._headers[name] = value
        return response

    def to_bytes(self) -> bytes:
        """Return the response as it goes over the wire; ValueError for what would break it."""
        return self._to_bytes({}, True)

    def _to_bytes(self, extra: Mapping[str, str], with_body: bool) -> bytes:
        """Add or replace the headers of ``extra``; leave the body out for HEAD."""
        headers = self.headers.copy()
        # RFC 9110, 8.6: no Content-Length in 1xx and 204.
        has_body = self.status >= 200 and self.status not in (204, 304)
        if self.body and not has_body:
            raise ValueError(f"a response with status {int(self.status)} has no body")
        if self.body:
            headers.setdefault("Content-Type", "text/plain")
        if has_body:
            headers["Content-Length"] = str(len(self.body or b""))
        for name, value in extra.items():
            headers[name] = value
        phrase = self.status.phrase if isinstance(self.status, HTTPStatus) else ""
        first = b"%b %d %b" % (self.version, int(self.status), phrase.encode())
        if not _STATUS_LINE.fullmatch(first):
            raise ValueError(f"not a version and a status of three digits: {first!r}")
        body = (self.body or b"") if with_body else b""
        return b"%b\r\n%b\r\n%b" % (first, _fields_bytes(headers), body)


class WSUpgradeResponseWithListener:
    """What a server's listener factory returns to choose the response too.

    Raises ValueError for a 101 without a listener, and for a listener beside another status.
    """

    __slots__ = ("listener", "response")

    def __init__(self, response: WSUpgradeResponse, listener: Optional[WSListener]) -> None:
        if response.status == 101 and listener is None:
            raise ValueError("listener cannot be None for 101 Switching Protocols response")
        if response.status != 101 and listener is not None:
            raise ValueError(
                f"listener must be None beside status {response.status}: an ordinary or error "
                "response has no frames"
            )
        self.response = response
        self.listener = listener


class WSRequestRefused(Exception):
    """A request that gets an HTTP error instead of an upgrade; never leaves the package."""

    def __init__(self, status: int, text: str, extra: Optional[dict[str, str]] = None) -> None:
        super().__init__(text)
        self.status = status
        self.extra = extra or {}


# ---- headers ----


def make_headers(source: Optional[WSHeadersLike]) -> CIMultiDict[str]:
    """Copy headers from a mapping or pairs.

    Raises TypeError unless names and values are str, ValueError for what would break the message.
    """
    headers: CIMultiDict[str] = CIMultiDict()
    if source is not None:
        pairs = source.items() if isinstance(source, Mapping) else source
        for name, value in pairs:
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError("extra_headers key/value must be str types")
            if not TOKEN.fullmatch(name):
                # Not what it is: somebody may have written name and value into one.
                raise ValueError("a header name is a token (RFC 9110, 5.1)" + _where(TOKEN, name))
            headers.add(name, _checked_value(name, value))
    return headers


def _where(allowed: re.Pattern[str], text: str) -> str:
    """Say what is wrong with a text, and not what it is."""
    if not text:
        return ": it is empty"
    found = allowed.match(text)
    at = 0 if found is None else found.end()
    return f": it has {text[at]!a} at position {at}"


def _checked_value(name: str, value: str) -> str:
    if _NOT_IN_VALUE.search(value):
        raise ValueError(f"control characters or lone surrogates in the value of header {name}")
    return value


def _fields_bytes(headers: CIMultiDict[str]) -> bytes:
    try:
        values = " ".join(headers.values())
        is_fine = not _NOT_IN_VALUE.search(values) and all(map(TOKEN.fullmatch, headers))
    except TypeError:
        is_fine = False
    if not is_fine:
        make_headers(headers)  # raises what is wrong with them
    return _lines(headers).encode("utf-8", "surrogateescape")


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def switching_bytes(agreed: Mapping[str, str]) -> bytes:
    """Return a 101 with the server's own headers only, as it goes over the wire."""
    return f"HTTP/1.1 101 Switching Protocols\r\n{_lines(agreed)}\r\n".encode("ascii")


def _elements(field: Field) -> list[str]:
    """Return the elements of a comma-separated field, repeated ones joined (RFC 9110, 5.3)."""
    joined = ",".join(_values(field))
    return [element for element in (part.strip(" \t") for part in joined.split(",")) if element]


def _values(field: Field) -> list[str]:
    if field is None:
        return []
    return [field] if isinstance(field, str) else field


def _has_token(field: Field, wanted: str) -> bool:
    # Nearly always it stands alone.
    if isinstance(field, str) and field.lower() == wanted:
        return True
    return any(element.lower() == wanted for element in _elements(field))


def tokens(headers: CIMultiDict[str], name: str) -> list[str]:
    """Return the elements of a comma-separated header."""
    return _elements(headers.getall(name, []))


def _status(status: Union[HTTPStatus, int]) -> Union[HTTPStatus, int]:
    if isinstance(status, HTTPStatus):
        return status
    try:
        return HTTPStatus(status)
    except ValueError:
        return int(status)


def uses_extension(response: WSUpgradeResponse) -> bool:
    """Return whether the handshake agreed on an extension: RSV bits may have a meaning then."""
    return EXTENSIONS in response.headers and bool(tokens(response.headers, EXTENSIONS))


# ---- keys ----


def make_key() -> str:
    """Return a nonce for Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455, 4.1)."""
    return base64.b64encode(os.urandom(16)).decode("ascii")


def accept_for(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers ``key`` (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


# ---- subprotocols ----

_SUBPROTOCOL = "Sec-WebSocket-Protocol"


def make_subprotocols(subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Check ``subprotocols=``. Raises TypeError, or ValueError for what is no token, or twice.

    RFC 6455, 4.1: "The elements that comprise this value MUST be non-empty strings ... and MUST all
    be unique strings."
    """
    if isinstance(subprotocols, (str, bytes)) or not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols must be a sequence, not {type(subprotocols).__name__}")
    names = tuple(subprotocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"subprotocols must hold str, not {type(name).__name__}")
        # A comma or a space would make two of one.
        if not TOKEN.fullmatch(name):
            raise ValueError("subprotocols must be tokens (RFC 9110, 5.6.2)" + _where(TOKEN, name))
    if len(set(names)) != len(names):
        raise ValueError("subprotocols must be unique, and one of them is there twice")
    return names


# ---- the client's side ----


def make_extensions(extensions: Sequence[str]) -> Optional[str]:
    """Return what a client offers of its own in Sec-WebSocket-Extensions, None for nothing.

    Raises TypeError, or ValueError for what RFC 6455, 9.1, does not allow, and for
    permessage-deflate.
    """
    if isinstance(extensions, (str, bytes)) or not isinstance(extensions, Sequence):
        raise TypeError(f"extensions must be a sequence, not {type(extensions).__name__}")
    for offer in extensions:
        if not isinstance(offer, str):
            raise TypeError(f"extensions must hold str, not {type(offer).__name__}")
        try:
            named = parse_extensions([offer])
        except ValueError as error:
            raise ValueError(f"extensions must be offers (RFC 6455, 9.1): {error}") from None
        # A comma makes two of one, or none.
        if len(named) != 1 or "," in offer:
            raise ValueError(f"extensions must hold one offer in each str: {offer!r}")
        if named[0].name == DEFLATE:
            raise ValueError(
                f"extensions must not have {DEFLATE}: use compression=, which inflates what "
                "comes, too"
            )
    return ", ".join(offer.strip(" \t") for offer in extensions) or None


# What a client's request says in any case (RFC 6455, 4.1), and what only an answer does.
_HANDSHAKE = (
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Accept",
)


def _check_extra(extra: CIMultiDict[str]) -> None:
    """Refuse what is the handshake's own, such as headers copied from a browser.

    Raises ValueError.
    """
    for name in _HANDSHAKE:
        if name in extra:
            raise ValueError(f"extra_headers must not have {name}: ws_connect() sets it by itself")
    if len(extra.getall("Host", [])) > 1:
        raise ValueError(f"extra_headers must have one Host at most: {extra.getall('Host')!r}")
    if _SUBPROTOCOL in extra:
        raise ValueError(
            f"extra_headers must not have {_SUBPROTOCOL}: give its names as subprotocols="
        )
    if EXTENSIONS in extra:
        raise ValueError(
            f"extra_headers must not have {EXTENSIONS}: use compression= for {DEFLATE}, "
            "extensions= for your own"
        )


def make_client_headers(
    url: WSParsedURL,
    extra_headers: Optional[WSHeadersLike],
    subprotocols: Sequence[str] = (),
    origin: Optional[str] = None,
    user_agent: Optional[str] = None,
    compression: Optional[str] = None,
    extensions: Sequence[str] = (),
) -> CIMultiDict[str]:
    """Make the headers that a client adds to its request; ``compression`` is the offer.

    Raises TypeError or ValueError: what breaks the request, and what is given twice.
    """
    headers: CIMultiDict[str] = CIMultiDict()
    extra = make_headers(extra_headers)
    _check_extra(extra)
    own = make_extensions(extensions)
    if own is not None and compression is not None:
        raise ValueError("extensions and compression contradict each other")
    for option, name, value in (
        ("origin", "Origin", _checked_origin(origin)),
        ("subprotocols", _SUBPROTOCOL, ", ".join(make_subprotocols(subprotocols)) or None),
        ("user_agent", "User-Agent", _checked_text("user_agent", "User-Agent", user_agent)),
        ("extensions", EXTENSIONS, own or compression),
    ):
        if value is None:
            continue
        if name in extra:
            raise ValueError(f"{option} and a header {name} in extra_headers contradict each other")
        headers[name] = value
    credentials = basic_auth(url)
    if credentials is not None and "Authorization" not in extra:
        headers["Authorization"] = credentials
    headers.extend(extra)
    return headers


def _checked_text(option: str, name: str, value: Optional[str]) -> Optional[str]:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{option} must be str or None, not {type(value).__name__}")
    return _checked_value(name, value)


def _checked_origin(origin: Optional[str]) -> Optional[str]:
    origin = _checked_text("origin", "Origin", origin)
    # RFC 6454, 7.1: scheme, host and port, or "null"; never empty.
    if origin is not None and (not origin or _NOT_IN_ORIGIN.search(origin)):
        raise ValueError(f"origin is printable ASCII without spaces: {shown_url(origin)!r}")
    return origin


def chosen_subprotocol(response: WSUpgradeResponse) -> Optional[str]:
    """Return the subprotocol that a checked response agrees on, None without one."""
    return next(iter(_named_subprotocols(response)), None)


def _named_subprotocols(response: WSUpgradeResponse) -> list[str]:
    """Return what a response chose; an empty field is no field."""
    return [name for name in response.headers.getall(_SUBPROTOCOL, []) if name]


def make_request(url: WSParsedURL, extra: CIMultiDict[str]) -> WSUpgradeRequest:
    """Make the upgrade request for ``url`` (RFC 6455, 4.1).

    A Host in ``extra`` replaces ours; all others are added.
    """
    headers: CIMultiDict[str] = CIMultiDict(
        [
            ("Host", url.host_header),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", make_key()),
        ]
    )
    for name, value in extra.items():
        if name.lower() == "host":
            headers[name] = value
        else:
            headers.add(name, value)
    return WSUpgradeRequest(path=url.resource_name.encode("ascii"), headers=headers)


def check_response(
    request: WSUpgradeRequest,
    response: WSUpgradeResponse,
    raw_header: bytes,
    raw_body: bytes,
    deflate: Optional[PermessageDeflate] = None,
) -> Optional[Agreed]:
    """Check the server's answer by RFC 6455, 4.1; return how it compresses, None for not at all.

    deflate: what the request offered. Raises a WSHandshakeError.
    """
    headers = response.headers
    raw = (raw_header, raw_body, response)

    def refuse(name: str, problem: str) -> WSInvalidHeaderError:
        return WSInvalidHeaderError(problem, name, headers.get(name), *raw)

    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise WSInvalidStatusError(
            "expected upgrade response with status 101 Switching Protocols, but received "
            f"{int(response.status)}",
            *raw,
        )
    # (Content-Length and Transfer-Encoding mean nothing here. RFC 9112, 6.3: "any response with a
    # 1xx ... status code is always terminated by the first empty line after the header fields,
    # regardless of the header fields present in the message".)
    # RFC 6455, 4.1: the answer to an HTTP/1.1 request with an Upgrade (RFC 9110, 7.8).
    if response.version == b"HTTP/1.0":
        raise WSInvalidMessageError("malformed upgrade response: a 101 in HTTP/1.0", *raw)
    # "If the response lacks an |Upgrade| header field or the |Upgrade| header field contains a
    # value that is not an ASCII case-insensitive match for the value "websocket""
    if not _has_token(headers.getall("Upgrade", []), "websocket"):
        value = headers.get("Upgrade")
        raise WSInvalidUpgradeError("Upgrade header is not websocket", "Upgrade", value, *raw)
    # "... doesn't contain a token that is an ASCII case-insensitive match for the value
    # "Upgrade""
    if not _has_token(headers.getall("Connection", []), "upgrade"):
        value = headers.get("Connection")
        raise WSInvalidUpgradeError("Connection header has no upgrade", "Connection", value, *raw)
    name = "Sec-WebSocket-Accept"
    if headers.getall(name, []) != [accept_for(request.headers["Sec-WebSocket-Key"])]:
        raise refuse(name, "Sec-WebSocket-Accept does not answer our key")
    # "indicates the use of an extension that was not present in the client's handshake"
    agreed = None
    try:
        chosen = parse_extensions(headers.getall(EXTENSIONS, []))
        if deflate is not None:
            agreed = check_answer(deflate, chosen)
    except ValueError as error:
        raise refuse(EXTENSIONS, f"the server's choice of extensions: {error}") from error
    ours = parse_extensions(request.headers.getall(EXTENSIONS, []))
    if {extension.name for extension in chosen} - {extension.name for extension in ours}:
        raise refuse(EXTENSIONS, "the server chose an extension that was not offered")
    # "indicates the use of a subprotocol that was not present in the client's handshake"
    named = _named_subprotocols(response)
    if len(named) > 1 or any(c not in tokens(request.headers, _SUBPROTOCOL) for c in named):
        raise refuse(_SUBPROTOCOL, "the server chose a subprotocol that was not offered")
    return agreed


# ---- the server's side ----


def check_request(method: bytes, version: bytes, fields: _core.RequestFields) -> None:
    """Check that a request is well-formed HTTP without content. Raises WSRequestRefused."""
    host, content_length = fields.host, fields.content_length
    # RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response
    # containing a list of the target resource's currently supported methods."
    if method not in (b"GET", b"HEAD", b"OPTIONS"):
        raise WSRequestRefused(405, f"only {_METHODS} are supported", {"Allow": _METHODS})
    # RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
    # request message that lacks a Host header field and to any request message that contains more
    # than one Host header field line". HTTP/1.0 did not have it.
    if not isinstance(host, str) and (host is not None or version != b"HTTP/1.0"):
        raise WSRequestRefused(400, "exactly one Host header is needed")
    if fields.transfer_encoding is not None:
        raise WSRequestRefused(400, "a request with content is not supported")
    # One, of zeros.
    if content_length is not None and (
        not isinstance(content_length, str) or not content_length or content_length.strip("0")
    ):
        raise WSRequestRefused(400, "a request with content is not supported")


def resolve_target(request: WSUpgradeRequest) -> None:
    """Take path and Host from a request's target that is no path. Raises WSRequestRefused."""
    # RFC 9110, 9.3.7: "An OPTIONS request with an asterisk ("*") as the request target ... applies
    # to the server in general".
    if request.path == b"*" and request.method == b"OPTIONS":
        return
    found = _ABSOLUTE.fullmatch(request.path)
    if found is None:
        raise WSRequestRefused(400, "the target of the request is no path and no absolute URL")
    authority, rest = found.group(1, 2)
    path = rest or b"/"
    request.path = path if path.startswith(b"/") else b"/" + path
    # RFC 9112, 3.2.2: "When an origin server receives a request with an absolute-form of
    # request-target, the origin server MUST ignore the received Host header field (if any) and
    # instead use the host information of the request-target."
    request.headers["Host"] = authority.decode("ascii")


def check_upgrade(
    method: bytes, http_version: bytes, wants_upgrade: bool, fields: _core.RequestFields
) -> str:
    """Check an opening handshake by RFC 6455, 4.2.1; return its key. Raises WSRequestRefused."""
    if method != b"GET":
        raise WSRequestRefused(400, "an upgrade needs GET")
    # "An HTTP/1.1 or higher GET request".
    if http_version == b"HTTP/1.0":
        raise WSRequestRefused(400, "an upgrade needs HTTP/1.1")
    if not wants_upgrade:
        raise WSRequestRefused(400, "Upgrade header is not websocket")
    if not _has_token(fields.connection, "upgrade"):
        raise WSRequestRefused(400, "Connection header has no upgrade")
    # 4.2.2: "If this version does not match a version understood by the server, the server MUST
    # abort the WebSocket handshake ... and instead send an appropriate HTTP error code (such as
    # 426 Upgrade Required) and a |Sec-WebSocket-Version| header field indicating the version(s) the
    # server is capable of understanding."
    if fields.version != "13":
        raise WSRequestRefused(
            426,
            "only Sec-WebSocket-Version 13 is supported",
            {
                "Sec-WebSocket-Version": "13",
                "Upgrade": "websocket",
                "Connection": "close, Upgrade",
            },
        )
    key = fields.key
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise WSRequestRefused(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    return key


def is_upgrade(http_version: bytes, fields: _core.RequestFields) -> bool:
    """Return whether the peer asks for a WebSocket; nothing else can become one.

    RFC 9110, 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0
    request."
    """
    return http_version != b"HTTP/1.0" and _has_token(fields.upgrade, "websocket")


def options_response(response: WSUpgradeResponse) -> WSUpgradeResponse:
    """Return the answer to OPTIONS (RFC 9110, 9.3.7) where GET gets ``response``.

    What is there is a 204 with Allow, and with the headers that are not about content, such as
    those of CORS; what is not there, or elsewhere, is so for OPTIONS, too.
    """
    if response.status >= 300:
        return response
    headers: CIMultiDict[str] = CIMultiDict()
    if response.status != _SWITCHING_PROTOCOLS:
        pairs = response.headers.items()
        headers.extend([pair for pair in pairs if not pair[0].lower().startswith("content-")])
    headers.setdefault("Allow", _METHODS)
    return WSUpgradeResponse(HTTPStatus.NO_CONTENT, headers)


# ---- the server's side: origins and subprotocols ----

WSOrigin = Union[str, "re.Pattern[str]", None]
WSSubprotocolChooser = Callable[[WSUpgradeRequest, list[str]], Optional[str]]

# RFC 6454, 6.2: "null", or scheme, "://", host and perhaps a port.
_ORIGIN = re.compile(r"null|[A-Za-z][A-Za-z0-9+.\-]*://[^\x00-\x20/?#@\x7f-\U0010ffff]*")


def make_origins(origins: Optional[Iterable[WSOrigin]]) -> Optional[tuple[WSOrigin, ...]]:
    """Check ``origins=``. Raises TypeError, or ValueError for what no browser would send."""
    if origins is None:
        return None
    if isinstance(origins, (str, bytes)) or not isinstance(origins, Iterable):
        raise TypeError(f"origins must be a sequence, not {type(origins).__name__}")
    checked = tuple(origins)
    for origin in checked:
        if isinstance(origin, str):
            if not _ORIGIN.fullmatch(origin):
                shown = shown_url(origin)
                raise ValueError(f"an origin is scheme://host[:port], or null, not {shown!r}")
        elif isinstance(origin, re.Pattern):
            if not isinstance(origin.pattern, str):
                raise TypeError(f"a pattern for origins must be one for str: {origin!r}")
        elif origin is not None:
            raise TypeError(
                f"origins must hold str, re.Pattern or None, not {type(origin).__name__}"
            )
    return checked


def check_origin(fields: _core.RequestFields, origins: Optional[tuple[WSOrigin, ...]]) -> None:
    """Check who sent the browser here (RFC 6455, 4.2.2 and 10.2). Raises WSRequestRefused."""
    origin = fields.origin
    # RFC 6454, 7.3: "the user agent MUST NOT include more than one Origin header field in any HTTP
    # request."
    if isinstance(origin, list):
        raise WSRequestRefused(400, "more than one Origin header")
    # 4.2.2: "If the server does not wish to accept this connection, it MUST return an appropriate
    # HTTP error code (e.g., 403 Forbidden) and abort the WebSocket handshake".
    if origins is not None and not any(_is_origin(origin, allowed) for allowed in origins):
        raise WSRequestRefused(403, "this origin is not allowed")


def _is_origin(origin: Optional[str], allowed: WSOrigin) -> bool:
    if origin is None or allowed is None:
        return origin is allowed
    if isinstance(allowed, str):
        # 4.2.2: "The origin is serialized to ASCII and converted to lowercase."
        return origin.lower() == allowed.lower()
    return allowed.fullmatch(origin) is not None


def make_chooser(
    subprotocols: Union[Sequence[str], WSSubprotocolChooser, None],
) -> Union[tuple[str, ...], WSSubprotocolChooser]:
    """Check a server's ``subprotocols=``. Raises what make_subprotocols() does."""
    if subprotocols is None:
        return ()
    return subprotocols if callable(subprotocols) else make_subprotocols(subprotocols)


def offered_subprotocols(fields: _core.RequestFields) -> list[str]:
    """Return what the client offers, in its order of preference. Raises WSRequestRefused."""
    # An empty field is no field.
    if not any(_values(fields.protocol)):
        return []
    offered = _elements(fields.protocol)
    # 4.1: "The elements that comprise this value MUST be non-empty strings with characters in the
    # range U+0021 to U+007E not including separator characters as defined in [RFC2616] and MUST all
    # be unique strings."
    if not offered or not all(TOKEN.fullmatch(name) for name in offered):
        raise WSRequestRefused(400, f"{_SUBPROTOCOL} is no list of tokens")
    if len(set(offered)) != len(offered):
        raise WSRequestRefused(400, f"{_SUBPROTOCOL} names a subprotocol twice")
    return offered


def offered_extensions(fields: _core.RequestFields) -> list[Extension]:
    """Return what the client offers, in its order of preference. Raises WSRequestRefused."""
    if fields.extensions is None:
        return []
    try:
        return parse_extensions(_values(fields.extensions))
    except ValueError as error:
        raise WSRequestRefused(400, f"{EXTENSIONS} is no list of extensions") from error


def choose_extensions(
    offered: list[Extension],
    response: Optional[WSUpgradeResponse],
    deflate: Optional[PermessageDeflate],
) -> Optional[tuple[str, Agreed]]:
    """Return the header to answer with, and how it compresses; None for no compression.

    What the factory's response says about extensions has the last word.
    """
    if deflate is None or (response is not None and EXTENSIONS in response.headers):
        return None
    return choose_offer(deflate, offered)


def choose_subprotocol(
    request: WSUpgradeRequest,
    offered: list[str],
    response: Optional[WSUpgradeResponse],
    ours: Union[tuple[str, ...], WSSubprotocolChooser],
) -> Optional[str]:
    """Return the subprotocol to answer with (RFC 6455, 4.2.2), None for none.

    What the factory's response names comes before ``ours``. Raises ValueError where it was not
    offered.
    """
    named = [] if response is None else response.headers.getall(_SUBPROTOCOL, [])
    chosen: Optional[str]
    if named:
        chosen = ", ".join(named)
    elif not offered:
        chosen = None
    elif callable(ours):
        chosen = ours(request, list(offered))
    else:
        chosen = next((name for name in ours if name in offered), None)
    # 4.2.2: "The value chosen MUST be derived from the client's handshake, specifically by
    # selecting one of the values from the |Sec-WebSocket-Protocol| field that the server is willing
    # to use for this connection (if any)."
    if chosen is not None and chosen not in offered:
        # What it offers may be a token in the other sense.
        raise ValueError(f"the client did not offer the subprotocol {chosen!r}")
    return chosen
