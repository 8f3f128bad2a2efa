"""WebSocket URLs (RFC 6455, 3), and those of proxies."""

from __future__ import annotations

import base64
import importlib
import ipaddress
import re
import unicodedata
import urllib.parse
from dataclasses import dataclass, field
from typing import Optional

from .errors import WSInvalidURL
from .extras import import_where_installed

# gen-delims, sub-delims (RFC 3986, 2.2) and the percent sign: what an IRI's characters are
# quoted around, so that what is quoted already stays as it is.
_SAFE = ":/?#[]@!$&'()*+,;=%"

_WS_PORTS = {"ws": 80, "wss": 443}
_PROXY_PORTS = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_USERINFO = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.\-]*:)?//)?.*@", re.DOTALL)
_NO_PORT = re.compile(
    r"\A((?:[A-Za-z][A-Za-z0-9+.\-]*:)?//[^/?#:\[\]]*:)(?![0-9]*(?:[/?#]|\Z))[^/?#]+"
)
_QUERY = re.compile(r"([?#]).+\Z", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_IN_NAME = re.compile(r"[^!-~]|[/?#@:\[\]\\]")
# UTS 46, 6: sharp s and final sigma, which 2003 maps to others; and what it keeps although nobody
# sees it. (Zero-width joiners and their like are of the category Cf.)
_DEVIATIONS = "\xdf\u1e9e\u03c2\u115f\u1160\u17b4\u17b5\u180f\u3164\uffa0"
# RFC 6874, 2, without percent-encoding, which Python's urllib does not accept in there.
_ZONE = re.compile(r"[A-Za-z0-9._~\-]+")


@dataclass(eq=False, frozen=True)
class WSParsedURL:
    """A ws or wss URL, or that of a proxy, in its parts.

    is_secure tells wss, and https for a proxy. host is in lower case and, like path and query,
    ASCII (IDNA and percent-encoding applied); that of a link-local IPv6 address may have a zone,
    such as ``fe80::1%eth0``. port is always set. Its repr() has nothing that may be secret.
    """

    url: str = field(repr=False)
    scheme: str
    is_secure: bool
    netloc: str = field(repr=False)
    host: str
    port: int
    path: str
    query: str = field(repr=False)
    username: Optional[str] = field(default=None, repr=False)
    password: Optional[str] = field(default=None, repr=False)

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
        is_default = self.port == (_WS_PORTS.get(self.scheme) or _PROXY_PORTS[self.scheme])
        return self.authority.rpartition(":")[0] if is_default else self.authority

    @property
    def authority(self) -> str:
        """Host and port, as CONNECT names them (RFC 9110, 9.3.6)."""
        host = without_zone(self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: who may see what was meant for this server."""
        return self.scheme, self.host, self.port


def parse_url(url: str) -> WSParsedURL:
    """Take a ws or wss URL (or IRI) apart. Raises TypeError or WSInvalidURL (a ValueError)."""
    if not isinstance(url, str):
        raise TypeError(f"url must be str, not {type(url).__name__}")
    return _parse(url, _WS_PORTS, "scheme isn't ws or wss")


def parse_proxy_url(url: str) -> WSParsedURL:
    """Take a proxy's URL apart: http, https, socks4, socks4a, socks5 or socks5h.

    Its default ports are 80, 443 and 1080. Raises TypeError or WSInvalidURL.
    """
    if not isinstance(url, str):
        raise TypeError(f"proxy must be a URL as str, True or None, not {type(url).__name__}")
    parsed = _parse(url, _PROXY_PORTS, "scheme isn't http, https, socks4 or socks5")
    if parsed.path not in ("", "/") or parsed.query:
        raise _invalid(url, "a proxy has no path")
    return parsed


def _parse(url: str, ports: dict[str, int], wrong_scheme: str) -> WSParsedURL:
    # urllib would drop some of these silently, and what is left would be another URL.
    if _NOT_IN_URL.search(url):
        raise _invalid(url, "white space, a control character or a lone surrogate in it")
    parts = _split(url)
    if parts is None:
        raise _invalid(url, "its host or its port (1 to 65535) is not one")
    if parts.scheme not in ports:
        raise _invalid(url, wrong_scheme)
    host, port = parts.hostname, parts.port
    if not host:
        raise _invalid(url, "hostname isn't provided")
    # "Fragment identifiers are meaningless in the context of WebSocket URIs" (3).
    if parts.fragment or url.endswith("#"):
        raise _invalid(url, "fragment identifier is meaningless")
    if port == 0:
        raise _invalid(url, "port 0 cannot be connected to")
    problem = ""
    try:
        if ":" in host:
            host = _ipv6(host)
        else:
            # urllib's lower case ends Greek words with another sigma than IDNA does.
            host = ascii_name(host if host.isascii() else _host_as_given(parts.netloc))
    except ValueError as exc:
        problem = f"host name: {exc}"
    if problem:
        raise _invalid(url, problem)
    # RFC 1035, 2.3.4: 255 octets with their lengths, which is 253 as text.
    if len(host) > 253:
        raise _invalid(url, "host name too long")
    return WSParsedURL(
        url=url,
        scheme=parts.scheme,
        is_secure=parts.scheme in ("wss", "https"),
        netloc=parts.netloc,
        host=host,
        port=ports[parts.scheme] if port is None else port,
        path=urllib.parse.quote(parts.path, safe=_SAFE),
        query=urllib.parse.quote(parts.query, safe=_SAFE),
        username=parts.username,
        password=parts.password,
    )


def _split(url: str) -> Optional[urllib.parse.SplitResult]:
    """Take a URL apart; None where that cannot be: urllib's own text quotes what may be secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port, parts.hostname  # raise what is wrong with them
    except ValueError:
        return None
    return parts


def _invalid(url: str, problem: str) -> WSInvalidURL:
    return WSInvalidURL(shown_url(url), problem)


def _host_as_given(netloc: str) -> str:
    return netloc.rpartition("@")[2].partition(":")[0]


def ascii_name(host: str) -> str:
    """Return a host's name in lower case, and in ASCII (IDNA 2008, by UTS 46). Raises ValueError.

    Without the package idna it is IDNA 2003 that Python knows: names for which the two differ are
    refused.
    """
    idna = None if host.isascii() else import_where_installed("idna")
    if idna is None and not host.isascii() and _depends_on_idna(host):
        raise ValueError(
            "IDNA 2003 and 2008 make different names of it; for IDNA 2008 (RFC 5891) "
            "pip install picows_c[idna]"
        )
    try:
        if idna is None:
            name = host.encode("idna").decode("ascii")  # of what is ASCII it looks at the lengths
        else:
            name = idna.encode(host, uts46=True, transitional=False).decode("ascii")
    except UnicodeError:
        name = ""
    if not name or _NOT_IN_NAME.search(name):
        raise ValueError("a label of it is empty or too long, or no host name has such characters")
    return name.lower()


def _depends_on_idna(host: str) -> bool:
    """Return whether IDNA 2003 and 2008 may make different names of a host."""
    # What today's Unicode does not know may have a meaning in that of the package.
    if any(c in _DEVIATIONS or unicodedata.category(c) in ("Cn", "Cf") for c in host):
        return True
    # UTS 46, 4: what is mapped by today's Unicode; nameprep (RFC 3491) has that of 2002. (Only such
    # names need its tables.)
    nameprep = importlib.import_module("encodings.idna").nameprep
    today = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", host).casefold())
    try:
        return bool(nameprep(host) != today)
    except UnicodeError:
        return False  # 2003 does not have it at all


def _ipv6(host: str) -> str:
    """Return an IPv6 address, its zone behind a bare "%". Raises ValueError."""
    address, percent, zone = host.partition("%")
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        parsed = None
    if parsed is None:
        raise ValueError("it is no IPv6 address")  # not ipaddress's text, which quotes it
    if not percent:
        return address
    # RFC 6874, 2: the zone stands behind "%25"; 3: a bare "%" may be accepted, too.
    if zone.startswith("25") and len(zone) > 2:
        zone = zone[2:]
    # 4: "implementations MUST NOT allow use of this format except for well-defined usages, such as
    # sending to link-local addresses under prefix fe80::/10."
    if not parsed.is_link_local:
        raise ValueError("only a link-local IPv6 address has a zone")
    if not _ZONE.fullmatch(zone):
        raise ValueError("the zone of an IPv6 address is not one")
    return f"{address}%{zone}"


def without_zone(host: str) -> str:
    """Return a host as it may be told to others.

    RFC 6874, 4: a client "MUST remove any ZoneID attached to an outgoing URI, as it has only local
    significance at the sending host."
    """
    return host.partition("%")[0] if ":" in host else host


def certificate_name(host: str) -> str:
    """Return the name of a host that its certificate has, and that SNI sends: no zone, no root dot.

    RFC 6066, 3: "The hostname is represented as a byte string using ASCII encoding without a
    trailing dot."
    """
    return without_zone(host[:-1] if host.endswith(".") and len(host) > 1 else host)


def shown_url(url: str) -> str:
    """Return what may be told of something that need not even be a URL.

    User name and password, the query and the fragment may be secret, and what stands where a port
    should be.
    """
    # Where these have a / ? or # in them, the last @ is what ends them.
    known = _USERINFO.match(url)
    if known is not None:
        url = f"{known[1] or ''}***@{url[known.end() :]}"
    url = _NO_PORT.sub(r"\1***", url)
    url = _QUERY.sub(r"\1...", url)
    return url.encode("utf-8", "backslashreplace").decode("utf-8")


def without_userinfo(url: str) -> str:
    """Return a URL without user name and password."""
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", url)


def basic_auth(url: WSParsedURL) -> Optional[str]:
    """Return the value of Authorization for the URL's userinfo (RFC 7617), None without one.

    Raises ValueError for a user name with a colon, and for control characters.
    """
    if not url.username and not url.password:
        return None
    user = urllib.parse.unquote_to_bytes(url.username or "")
    password = urllib.parse.unquote_to_bytes(url.password or "")
    # RFC 7617, 2: "a user-id containing a colon character is invalid", and "The user-id and
    # password MUST NOT contain any control characters".
    if b":" in user:
        raise ValueError("the user name in a URL cannot contain a colon (RFC 7617, 2)")
    if _CONTROL.search(user) or _CONTROL.search(password):
        raise ValueError("control characters in the user name or password of a URL")
    return "Basic " + base64.b64encode(user + b":" + password).decode("ascii")
