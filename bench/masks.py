"""Masking by itself: bench/mask/masks.c with our kernels, and with picows's as they are installed.

python bench/masks.py [--peer PYTHON]    prints nanoseconds by length
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
CORE = HERE.parent / "csrc" / "core"
# picows builds each of its kernels for one instruction set.
FLAGS = {
    "mask_avx512": ["-mavx512f"],
    "mask_avx2": ["-mavx2"],
    "mask_sse2": ["-msse2"],
}


def picows_folder(peer: Optional[str]) -> Optional[str]:
    """Return where picows is installed, with its sources."""
    if peer is None:
        return None
    code = "import importlib.util as u; print(u.find_spec('picows').submodule_search_locations[0])"
    done = subprocess.run([peer, "-c", code], capture_output=True, text=True, check=False)
    folder = done.stdout.strip()
    return folder if os.path.exists(os.path.join(folder, "mask_dispatch.c")) else None


def build(folder: Path, peer: Optional[str]) -> Path:
    compiler = os.environ.get("CC") or "cc"
    sources = [(str(HERE / "mask" / "masks.c"), ["-std=c11"])]
    sources += [(path, ["-std=c11"]) for path in sorted(glob.glob(str(CORE / "ws_mask*.c")))]
    theirs = picows_folder(peer)
    common = ["-O3", "-DNDEBUG", f"-I{CORE}"]
    if theirs is not None:
        common += ["-DWITH_PICOWS", f"-I{theirs}"]
        for path in sorted(glob.glob(os.path.join(theirs, "mask_*.c"))):
            sources.append((path, FLAGS.get(Path(path).stem, [])))
    objects = []
    for path, flags in sources:
        target = str(folder / f"{Path(path).stem}.o")
        subprocess.run([compiler, *common, *flags, "-c", path, "-o", target], check=True)
        objects.append(target)
    program = folder / "masks"
    subprocess.run([compiler, "-o", str(program), *objects], check=True)
    return program


def measure_masks(bench: Any) -> dict[str, list[Any]]:
    """Return one row for each length: the ratios to picows and to a key of zeros."""
    program = build(bench.folder, bench.peer)
    aim = str(max(int(20_000 * bench.scale), 1000))
    done = subprocess.run(
        [*bench.pin(0), str(program), aim], stdout=subprocess.PIPE, text=True, check=True
    )
    return {"picows_c": [json.loads(line) for line in done.stdout.splitlines()]}


def summary(rows: list[Any]) -> list[dict[str, Any]]:
    """Return for each length what a table shows."""
    found = []
    for row in rows:
        cells = row["cells"]
        ours = statistics.median(cell[2] for cell in cells)
        line: dict[str, Any] = {"length": row["length"], "ns": ours}
        line["zeros"] = statistics.median(cell[3] / cell[2] for cell in cells)
        if cells[0][4]:
            ratios = [cell[2] / cell[4] for cell in cells]
            line.update(
                picows_ns=statistics.median(cell[4] for cell in cells),
                picows=statistics.median(ratios),
                worst=max(ratios),
            )
        found.append(line)
    return found


def second_level_cache() -> int:
    """Return the bytes of a core's L2 cache; 1 MiB where they are not known."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return int(text.rstrip("KM")) * (1024 if text.endswith("K") else 1024 * 1024)
    except (OSError, ValueError):
        return 1 << 20


def table(rows: list[Any]) -> str:
    lines = [f"{'bytes':>10}{'ns':>12}{'picows ns':>12}{'ratio':>8}{'worst':>8}{'GB/s':>8}"]
    for line in summary(rows):
        cells = f"{line['length']:>10,}{line['ns']:>12.1f}"
        if "picows" in line:
            cells += f"{line['picows_ns']:>12.1f}{line['picows']:>8.2f}{line['worst']:>8.2f}"
        else:
            cells += f"{'':28}"
        lines.append(f"{cells}{line['length'] / line['ns']:>8.1f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="a Python that has picows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder), args.peer)
        done = subprocess.run([str(program)], stdout=subprocess.PIPE, text=True, check=True)
    print(table([json.loads(line) for line in done.stdout.splitlines()]))


if __name__ == "__main__":
    main()
