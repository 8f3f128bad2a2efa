"""``python -m picows_c``: a client, an echo server and a benchmark for the command line."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
