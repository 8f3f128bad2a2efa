"""Examples that need other programs: nginx before several processes, Redis between them."""

from __future__ import annotations

import configparser
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from programs import EXAMPLES, Program, example, lasting_port
from test_examples import connect, gone, hear

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")


@pytest.fixture(autouse=True)
def websockets_is_there(need):
    need("websockets", importlib.util.find_spec("websockets"))


@pytest.fixture
def nginx(need, tmp_path):
    """Return a function that starts nginx with the example's configuration."""
    program = need("nginx", shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"))

    @contextlib.contextmanager
    def start(folder):
        """Only places and the port are other ones."""
        port = lasting_port()
        text = (EXAMPLES / "nginx.conf").read_text()
        for old, new in {
            "listen 8080;": f"listen 127.0.0.1:{port};",
            "/run/echo/1.sock": str(folder / "1.sock"),
            "/run/echo/2.sock": str(folder / "2.sock"),
            "/run/nginx.pid": str(tmp_path / "nginx.pid"),
        }.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        # Where it may write, whoever runs the tests.
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{name}_temp_path {tmp_path}/{name};\n" for name in names)
        text = text.replace("http {\n", "http {\n" + temporary)
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(text)
        command = [program, "-e", "stderr", "-p", tmp_path, "-c", configuration]
        command += ["-g", "daemon off;"]
        with Program(*command) as process:
            process.wait_for_port(port)
            yield "127.0.0.1", port
            process.stop()

    return start


@pytest.fixture
def short_path(tmp_path_factory):
    """A unix socket's path has to be short."""
    path = tmp_path_factory.mktemp("s")
    assert len(str(path)) < 90
    return path


def unit():
    """Return the section of the systemd unit that says how a process runs."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string((EXAMPLES / "systemd" / "echo@.service").read_text())
    return parser["Service"]


@pytest.fixture
def runtime_directory(need):
    """Make what systemd makes of RuntimeDirectory=, and return what processes need beside it.

    Only root can give it to a group; whoever else runs this is nginx's user, too.
    """
    with tempfile.TemporaryDirectory(prefix="echo") as name:
        folder, options = Path(name), {}
        if os.geteuid() == 0:
            import grp

            group = options["group"] = unit()["Group"]
            need(f"the group {group}", group in [known.gr_name for known in grp.getgrall()])
            shutil.chown(folder, group=group)
            folder.chmod(int(unit()["RuntimeDirectoryMode"], 8))
        yield folder, options


def test_behind_nginx(nginx, runtime_directory):
    """nginx runs as the user of its configuration, and has to reach the sockets."""
    folder, options = runtime_directory
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in ("1.sock", "2.sock"):
            command = [sys.executable, EXAMPLES / "behind_nginx.py", "--unix", folder / name]
            worker = stack.enter_context(Program(*command, **options))
            worker.address()
            workers[worker.process.pid] = worker
        address = stack.enter_context(nginx(folder))

        clients = [stack.enter_context(connect(address, "/any")) for _ in range(6)]
        served = {}
        for client in clients:
            pid, peer = re.fullmatch(r"process (\d+), client (.+)", hear(client)).groups()
            assert peer == "127.0.0.1"
            served.setdefault(int(pid), []).append(client)
            for message in ("text", bytes(1 << 20)):
                client.send(message)
                assert hear(client) == message
        # least_conn: as many here as there.
        assert served.keys() == workers.keys()

        # One process is restarted: its clients are told, the others go on, new ones find the other.
        pid, other = workers
        assert workers[pid].stop()[0] == 0
        for client in served[pid]:
            assert gone(client) == (1001, "restart")
        for client in served[other]:
            client.send("still here")
            assert hear(client) == "still here"
        with connect(address, "/any") as client:
            assert hear(client).startswith(f"process {other},")


def test_systemd_unit(short_path):
    """What the unit starts starts, and ends within the time that systemd gives it."""
    service = unit()
    python, script, *arguments = shlex.split(service["ExecStart"])
    assert Path(python).name == "python"
    assert service["RuntimeDirectory"] == "echo"
    arguments = [argument.replace("%i", "1") for argument in arguments]
    assert arguments == ["--unix", "/run/echo/1.sock"]
    assert int(service["TimeoutStopSec"]) > 10
    with example(Path(script).name, "--unix", short_path / "1.sock") as worker:
        # nginx reaches the socket as a member of the group, through the directory.
        user = re.search(r"^user (.+);$", (EXAMPLES / "nginx.conf").read_text(), re.MULTILINE)[1]
        assert service["Group"] == user
        assert int(service["RuntimeDirectoryMode"], 8) & 0o770 == 0o750
        path = worker.address()
        assert os.stat(path).st_mode & 0o777 == 0o660
        assert worker.stop() == (0, "")


@pytest.fixture
def redis_url(need, short_path):
    """Run a Redis of our own, without a port, that keeps nothing."""
    need("redis (the Python package)", importlib.util.find_spec("redis"))
    program = need.program("redis-server")
    path = short_path / "redis.sock"
    command = [program, "--port", 0, "--unixsocket", path, "--save", "", "--dir", short_path]
    with Program(*command) as server:
        server.skip_to("ready to accept connections")
        yield f"unix://{path}"
        server.stop()


def test_redis_fanout(redis_url):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(example("redis_fanout.py", "--port", 0, "--redis", redis_url))
            for _ in range(2)
        ]
        addresses = [server.address() for server in servers]
        here, there, beside = (stack.enter_context(connect(addresses[n])) for n in (0, 1, 1))
        said = [f"Grüße {n}" for n in range(50)]
        for text in said:
            here.send(text)
        for client in (here, there, beside):
            assert [hear(client) for _ in said] == said
        there.send("and back")
        for client in (here, there, beside):
            assert hear(client) == "and back"
        for server in servers:
            assert server.process.poll() is None
