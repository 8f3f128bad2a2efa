"""Every exception of the library, below WSError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from .handshake import WSUpgradeResponse


class WSError(Exception):
    """Base of all exceptions that picows_c defines. They can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call the constructor with args, which are not its arguments.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[WSError], args: tuple[Any, ...], state: dict[str, Any]) -> WSError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class WSHandshakeError(WSError):
    """The opening handshake (RFC 6455, 4) failed.

    raw_header: the bytes of the peer's HTTP head as far as they came, without its final empty line.
    raw_body: what follows the head; at most 64 KiB.
    response: the parsed response, None where it could not be parsed.

    Of a response that is no 101 raw_body is the content (RFC 9112, 6.3) without the framing of
    chunks. Where the content does not say how long it is, or does not end, it is what came until
    one second had passed without more. A redirect that is followed is not waited for.
    """

    def __init__(
        self,
        description: str,
        raw_header: Optional[bytes] = None,
        raw_body: Optional[bytes] = None,
        response: Optional[WSUpgradeResponse] = None,
    ) -> None:
        super().__init__(description)
        self.raw_header = raw_header
        self.raw_body = raw_body
        self.response = response


class WSInvalidMessageError(WSHandshakeError):
    """The peer's answer is not an HTTP/1.1 response."""


class WSInvalidStatusError(WSHandshakeError):
    """The response's status is not 101 Switching Protocols."""


class WSInvalidHeaderError(WSHandshakeError):
    """A header of the response breaks RFC 6455, 4.1.

    name: the header's name.
    value: its value, None where it is absent.
    """

    def __init__(
        self,
        description: str,
        name: str,
        value: Optional[str] = None,
        raw_header: Optional[bytes] = None,
        raw_body: Optional[bytes] = None,
        response: Optional[WSUpgradeResponse] = None,
    ) -> None:
        super().__init__(description, raw_header, raw_body, response)
        self.name = name
        self.value = value


class WSInvalidUpgradeError(WSInvalidHeaderError):
    """The Upgrade or the Connection header is not what RFC 6455, 4.1 asks for."""


class WSProxyError(WSHandshakeError):
    """The proxy did not open the way to the server; ``__cause__`` says more where there is more.

    status: the HTTP status of its refusal, such as 407; None for SOCKS, and where it gave no
        answer that could be understood.
    """

    def __init__(
        self, description: str, status: Optional[int] = None, raw_header: Optional[bytes] = None
    ) -> None:
        super().__init__(description, raw_header)
        self.status = status


class WSProtocolError(WSError):
    """The peer's frames broke RFC 6455, or a callback wants to say so.

    Raised from ``on_ws_frame`` it closes the connection with this code and message.

    code: the close code (7.4.1) that was or will be sent.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])


class WSInvalidURL(WSError, ValueError):
    """The URL is not one of WebSocket (RFC 6455, 3).

    url: what was given, without its user name, password, query and fragment, which the text does
        not have either.
    """

    def __init__(self, url: str, msg: str) -> None:
        super().__init__(f"{url} isn't a valid URL: {msg}")
        self.url = url
