"""Build of the probe, as the language that PROBE_LANGUAGE names."""

import os
import shutil
import sys
import sysconfig

from setuptools import Extension, setup

import picows_c

source, standard = "probe.c", "c11"
if os.environ["PROBE_LANGUAGE"] == "c++":
    # C++14 is the oldest that every compiler in use can be asked for by name.
    source, standard = shutil.copyfile("probe.c", "probe.cc"), "c++14"
if sys.platform == "win32":
    flags = ["/W3", f"/std:{standard}"]
else:
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-O1"]
free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    name="probe",
    version="1.0",
    py_modules=[],
    ext_modules=[
        Extension(
            "probe",
            [source],
            include_dirs=[picows_c.get_include()],
            define_macros=[("Py_GIL_DISABLED", "1")] if free_threaded else [],
            extra_compile_args=flags,
        )
    ],
)
