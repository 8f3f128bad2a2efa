"""WebSocket URLs in their parts, and what is none."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
from raw import Never, row

from picows_c import WSError, WSInvalidURL, WSParsedURL, ws_connect
from picows_c.url import ascii_name, certificate_name, parse_proxy_url, parse_url

# url: host, port, path, query, resource name, Host header.
GOOD = {
    "ws://h": ("h", 80, "", "", "/", "h"),
    "wss://h": ("h", 443, "", "", "/", "h"),
    "ws://h/": ("h", 80, "/", "", "/", "h"),
    "ws://h:80/": ("h", 80, "/", "", "/", "h"),
    "wss://h:443/": ("h", 443, "/", "", "/", "h"),
    "ws://h:443/": ("h", 443, "/", "", "/", "h:443"),
    "wss://h:80/": ("h", 80, "/", "", "/", "h:80"),
    "ws://h:/": ("h", 80, "/", "", "/", "h"),
    "ws://h:65535/": ("h", 65535, "/", "", "/", "h:65535"),
    "ws://h?a=b": ("h", 80, "", "a=b", "/?a=b", "h"),
    "ws://h/a/b?c=d&e=f?g": ("h", 80, "/a/b", "c=d&e=f?g", "/a/b?c=d&e=f?g", "h"),
    "WS://Example.ORG/Path": ("example.org", 80, "/Path", "", "/Path", "example.org"),
    "ws://127.0.0.1:9001/": ("127.0.0.1", 9001, "/", "", "/", "127.0.0.1:9001"),
    "ws://[::1]/": ("::1", 80, "/", "", "/", "[::1]"),
    "ws://[::1]:8080/x": ("::1", 8080, "/x", "", "/x", "[::1]:8080"),
    "wss://user:pass@h:8443/": ("h", 8443, "/", "", "/", "h:8443"),
    "ws://m\xfcller.example/": ("xn--mller-kva.example", 80, "/", "", "/", "xn--mller-kva.example"),
    "ws://h/\xfc?\xfc=\u20ac": (
        "h",
        80,
        "/%C3%BC",
        "%C3%BC=%E2%82%AC",
        "/%C3%BC?%C3%BC=%E2%82%AC",
        "h",
    ),
    "ws://h/%C3%BC%20;a=(b)": ("h", 80, "/%C3%BC%20;a=(b)", "", "/%C3%BC%20;a=(b)", "h"),
    "ws://h//x": ("h", 80, "//x", "", "//x", "h"),
    "ws://h.:81/": ("h.", 81, "/", "", "/", "h.:81"),
    "ws://[FE80::A%25Eth0]/": ("fe80::a%Eth0", 80, "/", "", "/", "[fe80::a]"),
    "ws://[fe80::a%25a.b-c]:81/": ("fe80::a%a.b-c", 81, "/", "", "/", "[fe80::a]:81"),
    "ws://[fe80::a%eth0]/": ("fe80::a%eth0", 80, "/", "", "/", "[fe80::a]"),
    "ws://[fe80::a%25]/": ("fe80::a%25", 80, "/", "", "/", "[fe80::a]"),
    "ws://[febf::1%252]/": ("febf::1%2", 80, "/", "", "/", "[febf::1]"),
}

BAD = [
    "",
    "h",
    "//h/",
    "http://h/",
    "https://h/",
    "wsss://h/",
    "ws:h",
    "ws:///path",
    "ws://:80/",
    "ws://user@/",
    "ws://h/#fragment",
    "ws://h/#",
    "ws://h:0/",
    "ws://h:65536/",
    "ws://h:-1/",
    "ws://h:x/",
    "ws://[::1/",
    "ws://::1]/",
    "ws://h/a b",
    "ws://h /",
    " ws://h/",
    "ws://h/\t",
    "ws://h/\r\nX: y",
    "ws://h\r\n/",
    "ws://h/\0",
    "ws://h/\x7f",
    "ws://" + "a" * 64 + ".example/",
    "ws://a..b/",
    "ws://./",
    "ws://h/\ud800",
    "ws://h/?\ud800",
    "ws://\udfff:\udc80@h/",
    "ws://\ud800/",
    "ws://h \ud800:9/",
    "ws://[::1%25lo]/",
    "ws://[fec0::1%25eth0]/",
    "ws://[fe80::1%]/",
    "ws://[fe80::1%25a%00]/",
    "ws://[fe80::1%25a%20b]/",
    "ws://[fe80::1%25a%5D%C3%BC]/",
    "ws://[fe80::g]/",
]


SHOWN = {
    "ws://user@/": "ws://***@/",
    "ws://::1]/": "ws://:***/",
    "ws://h/#fragment": "ws://h/#...",
    "ws://h:-1/": "ws://h:***/",
    "ws://h:x/": "ws://h:***/",
    "ws://h/\ud800": "ws://h/\\ud800",
    "ws://h/?\ud800": "ws://h/?...",
    "ws://\udfff:\udc80@h/": "ws://***@h/",
    "ws://\ud800/": "ws://\\ud800/",
    "ws://h \ud800:9/": "ws://h \\ud800:9/",
}


@pytest.mark.parametrize("url", GOOD)
def test_parts(url):
    host, port, path, query, resource_name, host_header = GOOD[url]
    parsed = parse_url(url)
    assert isinstance(parsed, WSParsedURL)
    assert parsed.url == url
    assert parsed.scheme == url.split(":")[0].lower()
    assert parsed.is_secure is (parsed.scheme == "wss")
    assert (parsed.host, parsed.port) == (host, port)
    assert (parsed.path, parsed.query) == (path, query)
    assert parsed.resource_name == resource_name
    assert parsed.host_header == host_header
    assert parsed.resource_name.isascii()
    assert parsed.host_header.isascii()


@pytest.mark.parametrize("url", BAD, ids=ascii)
def test_what_is_no_websocket_url(url):
    with pytest.raises(WSInvalidURL) as caught:
        parse_url(url)
    assert isinstance(caught.value, WSError)
    assert isinstance(caught.value, ValueError)
    # User names and what stands for a port may be secret, and so may what is behind ? or #.
    shown = SHOWN.get(url, url)
    assert caught.value.url == shown
    assert str(caught.value).startswith(f"{shown} isn't a valid URL: ")
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://127.0.0.1/#x", "ws://127.0.0.1:0/"])
async def test_ws_connect_refuses_them(url):
    with pytest.raises(WSInvalidURL):
        await ws_connect(lambda: pytest.fail("called"), url)


@pytest.mark.parametrize("url", [None, 5, b"ws://h/", ["ws://h/"]])
async def test_url_of_another_type(url):
    with pytest.raises(TypeError):
        await ws_connect(lambda: pytest.fail("called"), url)


@pytest.mark.parametrize(
    ("url", "username", "password", "both"),
    [
        ("ws://h/", None, None, None),
        ("ws://u@h/", "u", None, None),
        ("ws://u:p@h/", "u", "p", ("u", "p")),
        ("ws://u:@h/", "u", "", ("u", "")),
        ("ws://u:p:q@h/", "u", "p:q", ("u", "p:q")),
    ],
)
def test_userinfo(url, username, password, both):
    parsed = parse_url(url)
    assert (parsed.username, parsed.password) == (username, password)
    assert parsed.user_info == both
    assert parsed.netloc == url[len("ws://") : -1]
    assert "u" not in parsed.host_header


def test_frozen():
    parsed = parse_url("ws://h/")
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.host = "other"
    # eq=False, as in picows: a URL is equal to itself only, and hashable.
    assert parsed != parse_url("ws://h/")
    assert parsed in {parsed}


# name: by IDNA 2008, by IDNA 2003 where that is the same or cannot be something else.
INTERNATIONAL = {
    "m\xfcller.example": ("xn--mller-kva.example", True),
    "M\xdcLLER.Example": ("xn--mller-kva.example", True),
    "b\xfccher\u3002example": ("xn--bcher-kva.example", True),
    "a.\u0392\u038c\u039b\u039f\u03a3": ("a.xn--nxasmq6b", True),
    "fa\xdf.example": ("xn--fa-hia.example", False),
    "FA\u1e9e.example": ("xn--fa-hia.example", False),
    "\u03b2\u03cc\u03bb\u03bf\u03c2.example": ("xn--nxasmm1c.example", False),
    "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example": (
        "xn--mgba3gch31f060k.example",
        False,
    ),
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3.example": ("xn--10cl1a0b660p.example", False),
    "a\u13a0.example": ("xn--a-28h.example", False),
}


def names_with_and_without_idna(monkeypatch):
    """Yield how a name is made without the package, and how with it."""
    real = importlib.import_module

    def without(name, *args):
        if name == "idna":
            raise ImportError(name)
        return real(name, *args)

    with monkeypatch.context() as patch:
        patch.setattr("picows_c.extras.importlib.import_module", without)
        yield "without"
    yield "with"


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_international_names(need, monkeypatch, scheme):
    need("idna", importlib.util.find_spec("idna"))
    parse = parse_url if scheme == "ws" else parse_proxy_url
    for installed in names_with_and_without_idna(monkeypatch):
        for name, (expected, is_same) in INTERNATIONAL.items():
            with row((installed, name)):
                if installed == "with" or is_same:
                    assert parse(f"{scheme}://user@{name}:99").host == expected
                    continue
                with pytest.raises(WSInvalidURL, match=r"picows_c\[idna\]"):
                    parse(f"{scheme}://user@{name}:99")


def test_no_name_leads_elsewhere_without_idna(need, monkeypatch):
    """Each character of the first planes: what both standards take is one name, or refused."""
    need("idna", importlib.util.find_spec("idna"))

    def name(character):
        try:
            return ascii_name(f"a{character}b")
        except ValueError:
            return None

    # But no CJK ideographs, Hangul syllables and surrogates: there are many, and no two of a name.
    ranges = (0x80, 0x3400), (0xA000, 0xAC00), (0xE000, 0x12000), (0x1D000, 0x20000)
    characters = [chr(i) for low, high in ranges for i in range(low, high)]
    without, with_it = (
        list(map(name, characters)) for _ in names_with_and_without_idna(monkeypatch)
    )
    pairs = list(zip(characters, without, with_it))
    assert [pair for pair in pairs if pair[1] and pair[2] and pair[1] != pair[2]] == []
    # And nothing is refused without need.
    assert sum(pair[1] is None and pair[2] is not None for pair in pairs) < 1000


@pytest.mark.parametrize(
    "name", ["a\xa8b", "a\uff05\uff0fb", "a\u2603\ufe0f" * 40, "\u3002", "\xad"]
)
def test_names_that_nobody_has(monkeypatch, name):
    for _ in names_with_and_without_idna(monkeypatch):
        with pytest.raises(WSInvalidURL):
            parse_url(f"ws://{name}/")


async def test_server_hostname_is_international_too(need, monkeypatch):
    need("idna", importlib.util.find_spec("idna"))
    for installed in names_with_and_without_idna(monkeypatch):
        if installed == "without":
            with pytest.raises(ValueError, match=r"server_hostname .*picows_c\[idna\]"):
                await ws_connect(Never(), "wss://127.0.0.1:1/", server_hostname="fa\xdf.example")
        else:
            with pytest.raises(ConnectionRefusedError):
                await ws_connect(Never(), "wss://127.0.0.1:1/", server_hostname="fa\xdf.example")
    with pytest.raises(TypeError, match="server_hostname"):
        await ws_connect(Never(), "wss://127.0.0.1:1/", server_hostname=b"h")


def test_zones_stay_here():
    """RFC 6874, 4: they mean nothing to anybody else."""
    parsed = parse_url("ws://[fe80::1%25eth0]:99/")
    assert parsed.authority == "[fe80::1]:99"
    assert certificate_name(parsed.host) == "fe80::1"


def test_certificate_names():
    names = {"h": "h", "h.": "h", "a.b.": "a.b", ".": ".", "": "", "127.0.0.1": "127.0.0.1"}
    for host, name in names.items():
        assert certificate_name(host) == name


def test_made_by_hand():
    url = WSParsedURL("ws://h:1/p?q", "ws", False, "h:1", "h", 1, "/p", "q")
    assert url.resource_name == "/p?q"
    assert url.user_info is None
