"""How a process is run under callgrind, and what it counted."""

from __future__ import annotations

import re
from pathlib import Path


def under_callgrind(out: Path, command: list[str]) -> list[str]:
    """Return the command that counts the instructions of another one, into ``out`` at its end."""
    return ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *command]


def counted(out: Path) -> int:
    """Return the instructions of the whole process."""
    totals = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
    assert totals is not None
    return int(totals[1])
