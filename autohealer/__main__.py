"""`python -m autohealer` is the `autohealer` command.

Python would import from the current folder first, and a `random.py` or `typing.py` there belongs to somebody
else: it is taken off the path before anything is imported, unless that is where we are.
"""

import sys

if __name__ == "__main__":
    if sys.path and not sys.flags.safe_path and not (__file__ or "").startswith(f"{sys.path[0]}/"):
        del sys.path[0]

    from autohealer.cli.main import main

    main()
