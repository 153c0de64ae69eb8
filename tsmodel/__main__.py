"""`python -m tsmodel`: the `tsmodel` command."""

import sys

from tsmodel.cli import main

if __name__ == "__main__":
    sys.exit(main())
