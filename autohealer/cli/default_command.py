"""Let `autohealer 10 flaky_worker` mean `autohealer run 10 flaky_worker`."""

from __future__ import annotations

from typer import Context
from typer.core import TyperGroup

DEFAULT = "run"
OWN_OPTIONS = frozenset({"--help", "--version"})


class DefaultCommandGroup(TyperGroup):
    """A command group in which what names no command goes to `run`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:  # type: ignore[override]  # same class
        """Insert `run` unless a command or an option of the group itself comes first."""
        if args and args[0] not in self.commands and args[0] not in OWN_OPTIONS:
            args = [DEFAULT, *args]
        if (
            len(args) > 1
            and args[0] == DEFAULT
            and args[1].startswith("-")
            and args[1][1:].isdecimal()
        ):
            args = [
                DEFAULT,
                "--",
                *args[1:],
            ]  # a negative number is a wrong N, not an unknown option
        rest: list[str] = super().parse_args(ctx, args)
        return rest
