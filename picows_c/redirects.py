"""Redirects of the opening handshake: where to go, and what to keep to oneself there."""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Optional

from multidict import CIMultiDict

from .errors import WSHandshakeError, WSInvalidStatusError, WSInvalidURL
from .url import WSParsedURL, parse_url, shown_url, without_userinfo

if TYPE_CHECKING:
    from .handshake import WSUpgradeResponse

# RFC 9110, 15.4: those that name one other place. A handshake is a GET, and stays one.
_REDIRECTS = (301, 302, 303, 307, 308)

# What a server was told because it is the one it is.
_PRIVATE = ("Authorization", "Cookie", "Host", "Proxy-Authorization")

# RFC 6455, 11.1: a server may well think in http and https; ports and meaning are the same.
_SCHEMES = {"http": "ws", "https": "wss"}


# What stays as it is in a Location: scheme and host, and elsewhere what a URL may hold.
_AUTHORITY = re.compile(rb"(?:[^:/?#]+:)?//[^/?#]*")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def is_redirect(response: WSUpgradeResponse) -> bool:
    """Return whether the status says that the server is elsewhere."""
    return response.status in _REDIRECTS


def redirect_of(error: WSInvalidStatusError, url: WSParsedURL) -> Optional[WSParsedURL]:
    """Return where a refusal redirects to, None where it is no redirect.

    Raises WSHandshakeError for a redirect that cannot, or must not, be followed.
    """
    response = error.response
    if response is None or not is_redirect(response):
        return None

    def refuse(problem: str) -> WSHandshakeError:
        return WSHandshakeError(problem, error.raw_header, error.raw_body, response)

    locations = response.headers.getall("Location", [])
    if not locations:
        raise refuse("received redirect HTTP response without Location header") from error
    if len(locations) > 1:
        raise refuse("received redirect HTTP response with several Location headers") from error
    try:
        target = parse_url(_resolve(url, _readable(locations[0])))
    except ValueError as problem:
        shown = str(problem) if isinstance(problem, WSInvalidURL) else repr(shown_url(locations[0]))
        raise refuse(f"cannot follow redirect: {shown}") from error
    if url.is_secure and not target.is_secure:
        shown = shown_url(target.url)
        raise refuse(f"cannot follow redirect to non-secure URL {shown}") from error
    return target


def _readable(location: str) -> str:
    """Return a Location whose path and query are percent-encoded: blanks, and what is no UTF-8.

    Raises ValueError. (Header values are ASCII, with surrogates for anything else.) RFC 3986, 2.1:
    "A percent-encoding mechanism is used to represent a data octet in a component when that octet's
    corresponding character is outside the allowed set".
    """
    octets = location.encode("ascii", "surrogateescape")
    found = _AUTHORITY.match(octets)
    at = 0 if found is None else found.end()
    try:
        rest = octets[at:].decode("utf-8")
    except UnicodeDecodeError:
        rest = urllib.parse.quote(octets[at:], safe=_VISIBLE + " \t")
    # A host with either is a wrong one.
    return octets[:at].decode("utf-8") + rest.replace(" ", "%20").replace("\t", "%09")


def _resolve(url: WSParsedURL, location: str) -> str:
    """Resolve a Location (RFC 9110, 10.2.2), without its fragment and userinfo.

    The userinfo of our own URL has become a header, and a server cannot choose credentials.
    """
    joined = urllib.parse.urldefrag(urllib.parse.urljoin(url.url, location)).url
    scheme, separator, rest = joined.partition(":")
    scheme = scheme.lower()
    return without_userinfo(_SCHEMES.get(scheme, scheme) + separator + rest)


def headers_for(headers: CIMultiDict[str], old: WSParsedURL, new: WSParsedURL) -> CIMultiDict[str]:
    """Return the headers for the next request: what is private stays with its origin."""
    kept = CIMultiDict(headers)
    if old.origin != new.origin:
        for name in _PRIVATE:
            kept.popall(name, None)
    return kept
