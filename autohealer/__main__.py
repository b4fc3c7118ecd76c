"""`python -m autohealer` is the `autohealer` command."""

from autohealer.cli.main import main

if __name__ == "__main__":
    main()
