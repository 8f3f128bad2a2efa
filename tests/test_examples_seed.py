"""picows's two examples, with only the import changed: a server and a client in processes.

Those in examples/ do the same, and are right for peers that send fragments.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from programs import ENVIRONMENT, ROOT

PORT = "9001"
SEED = ROOT / "tests/seed"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def copy_of(folder_of_it: Path, name: str, port: int, folder: Path) -> Path:
    """Copy an example; only its port is another one."""
    text = (folder_of_it / name).read_text()
    assert text.count(PORT) == 1
    assert text.count("from picows_c import") == 1
    copy = folder / name
    copy.write_text(text.replace(PORT, str(port)))
    return copy


@pytest.mark.parametrize("where", [SEED, ROOT / "examples"], ids=["as they were", "ours"])
def test_seed_examples_talk(tmp_path, where):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, str(copy_of(where, "echo_server.py", port, tmp_path))],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Whatever it fails to say: readline() ends.
    watchdog = threading.Timer(60, server.kill)
    watchdog.start()
    try:
        assert server.stdout.readline() == f"Server started on ('127.0.0.1', {port})\n"
        for _ in range(2):
            client = subprocess.run(
                [sys.executable, str(copy_of(where, "echo_client.py", port, tmp_path))],
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert client.stdout == "Echo reply: Hello world\n"
            assert client.stderr == ""
            assert client.returncode == 0
            assert server.stdout.readline() == "New client connected\n"
        assert server.poll() is None
    finally:
        watchdog.cancel()
        server.terminate()
        out, err = server.communicate(timeout=30)
    assert out == ""
    assert err == ""


@pytest.mark.parametrize("name", ["echo_server.py", "echo_client.py"])
def test_nothing_else_of_picows_is_needed(name):
    text = (SEED / name).read_text()
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert imports[0] == "import asyncio"
    assert [line.split(" import ")[0] for line in imports[1:]] == ["from picows_c"]
