"""Build of the example: pip install --no-build-isolation examples/c_listener."""

import sysconfig

from setuptools import Extension, setup

import picows_c

# The headers of a free-threaded Python on Windows want to be told.
free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    name="c_listener",
    version="1.0",
    py_modules=[],
    ext_modules=[
        Extension(
            "c_listener",
            ["c_listener.c"],
            include_dirs=[picows_c.get_include()],
            define_macros=[("Py_GIL_DISABLED", "1")] if free_threaded else [],
        )
    ],
)
