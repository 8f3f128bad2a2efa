"""Where the C API is found: picows_c.h, and picows_c.pxd for Cython."""

from __future__ import annotations

from pathlib import Path


def get_include() -> str:
    """Return the folder of ``picows_c.h`` and ``picows_c.pxd``.

    It belongs into the ``include_dirs`` of an extension module that uses the C API, and into the
    ``include_path`` of ``cythonize()``.
    """
    return str(Path(__file__).resolve().with_name("include"))
