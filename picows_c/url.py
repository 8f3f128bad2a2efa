"""WebSocket URLs (RFC 6455, 3)."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Optional

from .errors import WSInvalidURL

# gen-delims, sub-delims (RFC 3986, 2.2) and the percent sign: what an IRI's characters are
# quoted around, so that what is quoted already stays as it is.
_SAFE = ":/?#[]@!$&'()*+,;=%"


@dataclass(eq=False, frozen=True)
class WSParsedURL:
    """A ws or wss URL in its parts.

    host is in lower case and, like path and query, ASCII (IDNA and percent-encoding applied); port
    is always set.
    """

    url: str
    scheme: str
    is_secure: bool
    netloc: str
    host: str
    port: int
    path: str
    query: str
    username: Optional[str] = None
    password: Optional[str] = None

    @property
    def resource_name(self) -> str:
        """The resource name of RFC 6455, 3: path and query, such as ``/ws?symbol=a``."""
        name = self.path or "/"
        return f"{name}?{self.query}" if self.query else name

    @property
    def user_info(self) -> Optional[tuple[str, str]]:
        """User name and password, None unless the URL has both."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password

    @property
    def host_header(self) -> str:
        """The value of the Host header: no userinfo, and no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == default_port(self.is_secure) else f"{host}:{self.port}"


def default_port(is_secure: bool) -> int:
    """Return the port that RFC 6455, 3 gives to ws and wss."""
    return 443 if is_secure else 80


def parse_url(url: str) -> WSParsedURL:
    """Take a ws or wss URL (or IRI) apart. Raises TypeError or WSInvalidURL (a ValueError)."""
    if not isinstance(url, str):
        raise TypeError(f"url must be str, not {type(url).__name__}")
    # urllib would drop some of these silently, and what is left would be another URL.
    if any(c <= " " or c == "\x7f" for c in url):
        raise WSInvalidURL(url, "white space or a control character in it")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as exc:
        raise WSInvalidURL(url, str(exc)) from None
    if parts.scheme not in ("ws", "wss"):
        raise WSInvalidURL(url, "scheme isn't ws or wss")
    if not host:
        raise WSInvalidURL(url, "hostname isn't provided")
    # "Fragment identifiers are meaningless in the context of WebSocket URIs" (3).
    if parts.fragment or url.endswith("#"):
        raise WSInvalidURL(url, "fragment identifier is meaningless")
    if port == 0:
        raise WSInvalidURL(url, "port 0 cannot be connected to")
    try:
        host = host.encode("ascii" if ":" in host else "idna").decode("ascii")
    except UnicodeError as exc:
        raise WSInvalidURL(url, f"host name: {exc}") from None
    is_secure = parts.scheme == "wss"
    return WSParsedURL(
        url=url,
        scheme=parts.scheme,
        is_secure=is_secure,
        netloc=parts.netloc,
        host=host,
        port=default_port(is_secure) if port is None else port,
        path=urllib.parse.quote(parts.path, safe=_SAFE),
        query=urllib.parse.quote(parts.query, safe=_SAFE),
        username=parts.username,
        password=parts.password,
    )
