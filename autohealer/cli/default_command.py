"""Let `autohealer 10 flaky_worker` mean `autohealer run 10 flaky_worker`, with options anywhere before the program."""

from __future__ import annotations

from typer import Context
from typer.core import TyperGroup, TyperOption

from autohealer.cli.arguments import ABOUT_ITSELF, UnknownCommand, arranged
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.streams import say


class DefaultCommandGroup(TyperGroup):
    """A command group in which what names no command goes to `run`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:  # type: ignore[override]  # same class
        """Put a command first unless an option of the group itself comes first."""
        if args and args[0] not in ABOUT_ITSELF:
            try:
                args = arranged(args, self.commands, self._options_with_value())
            except UnknownCommand as error:
                say(f"autohealer: {error}")
                ctx.exit(ExitCode.USAGE)
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def _options_with_value(self) -> set[str]:
        return {
            name
            for command in self.commands.values()
            for option in command.params
            if isinstance(option, TyperOption) and not option.is_flag
            for name in option.opts
        }
