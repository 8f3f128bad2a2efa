"""Build of the one extension module, picows_c._core.

Metadata stands in pyproject.toml. Environment variables:

PICOWS_C_LTO=1       optimized across files, as our wheels are: a few per cent fewer instructions.
                     Not the default: a compiler without its linker's plugin cannot
PICOWS_C_DEBUG=1     assertions and invariant checks, warnings are errors
PICOWS_C_SANITIZE=1  the same under AddressSanitizer and UndefinedBehaviorSanitizer
"""

import os
import sys
import sysconfig
from glob import glob

from setuptools import Extension, setup

lto = bool(os.environ.get("PICOWS_C_LTO"))
debug = bool(os.environ.get("PICOWS_C_DEBUG"))
sanitize = bool(os.environ.get("PICOWS_C_SANITIZE"))
windows = sys.platform == "win32"

macros: "list[tuple[str, str | None]]" = []
compile_args: "list[str]" = []
link_args: "list[str]" = []
libraries: "list[str]" = []
undef_macros: "list[str]" = []

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    # On Windows the free-threaded build shares its headers with the other one.
    if windows:
        macros.append(("Py_GIL_DISABLED", "1"))
    macros.append(("WS_ATOMIC_REFS", "1"))

if sys.platform.startswith("linux"):
    libraries += ["dl"]  # part of libc in newer ones

if windows:
    compile_args += ["/std:c11", "/W3"]
    libraries += ["bcrypt"]
    if lto:
        compile_args += ["/GL"]
        link_args += ["/LTCG"]
else:
    compile_args += ["-std=c11", "-Wall", "-Wextra", "-fvisibility=hidden"]
    if debug or sanitize:
        compile_args += ["-Werror", "-g", "-O1", "-fno-omit-frame-pointer"]
        undef_macros.append("NDEBUG")
    else:
        compile_args += ["-O3", "-g0"]
        macros.append(("NDEBUG", "1"))
        if lto:
            compile_args += ["-flto"]
            # (The linker compiles: it is told how once more.)
            link_args += ["-flto", "-O3"]
    if sanitize:
        flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        compile_args += flags
        link_args += flags

setup(
    ext_modules=[
        Extension(
            "picows_c._core",
            sources=sorted(
                path.replace(os.sep, "/")
                for room in ("core", "platform", "ext")
                for path in glob(f"csrc/{room}/*.c")
            ),
            depends=glob("csrc/*/*.h") + glob("picows_c/include/*.h"),
            include_dirs=["csrc/core", "csrc/platform", "csrc/ext", "picows_c/include"],
            define_macros=macros,
            undef_macros=undef_macros,
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            libraries=libraries,
        )
    ]
)
