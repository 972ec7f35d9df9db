"""The book's commands: python3 scripts/house.py book|test|execute|colab-check|ledger|bench|lint|serve|lock|clean

This file only looks at Python's version, in words that every Python understands; the work is in _house.py.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  an older Python is told so by this very line
    sys.stderr.write(  # no f-string: an older Python must be able to read this file
        "mmtutor: Python %d.%d is too old; the book needs Python 3.11 or newer (see https://www.python.org/downloads/)\n"  # noqa: UP031
        % (sys.version_info[0], sys.version_info[1])
    )
    sys.exit(1)

if __name__ == "__main__":
    import _house

    sys.exit(_house.main(sys.argv[1:]))
