"""The program `hypir`: its subcommands and how errors become exit codes.

A subcommand's file is imported when it is run, so that `hypir --help` answers at once. Exit codes: 0 all done; 1 a
`HypirError` or some images failed; 2 wrong usage; 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hypir_cli import __version__
from hypir_cli.cli import console
from hypir_cli.cli.messages import console_logging
from hypir_cli.cli.signals import Terminated, terminations
from hypir_cli.errors import HypirError

COMMANDS = {
    "restore": ("restore:restore", "Restore photographs: INPUT... OUTPUT."),
    "plan": ("plan:plan", "List images once for many machines: INPUT... OUTPUT."),
    "solve": ("solve:solve", "Undo damage that is known: masks, kernels, exact shrinking."),
    "caption": ("caption:caption", "Write a prompt for every image."),
    "train-encoder": ("train:train_encoder", "Train the VAE encoder to see past damage."),
    "train-gan": ("train:train_gan", "Train a restoration LoRA adversarially."),
    "eval": ("evaluate:evaluate", "Score restored images and compare methods."),
    "export-lora": ("export_lora:export_lora", "Write a LoRA in the formats of other programs."),
    "degrade": ("degrade:degrade", "Make degraded copies of clean photographs."),
    "info": ("info:info", "Show this machine and its backbones, or what a file is."),
    "ui": ("ui:ui", "Restore in a page in the browser."),
    "fetch": ("info:fetch", "Download a backbone for working offline."),
}
"""Name -> function below `hypir_cli.cli`, and the line that `hypir --help` shows."""


_RUNNING = "hypir.running"
"""Where a context keeps the name of the command and the command."""


class LazyGroup(TyperGroup):
    """Imports a subcommand when it is run, and turns `HypirError` and Ctrl-C into messages and exit codes."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real subcommand in place of the line that stands for it in the help."""
        name, _, rest = super().resolve_command(ctx, args)
        command = load_command(str(name))
        ctx.meta[_RUNNING] = (str(name), command)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand that the arguments name."""
        console_logging()
        try:
            with terminations():
                return super().invoke(ctx)
        except HypirError as error:
            if console.debugging():
                raise
            console.print_error(_in_own_words(ctx, error))
            raise typer.Exit(1) from error
        except Terminated as error:
            console.err.print(f"Ended by {error.name}; what is finished stays.")
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            console.err.print("Interrupted; what is finished stays.")
            raise typer.Exit(console.INTERRUPTED) from error


def _in_own_words(ctx: Any, error: HypirError) -> HypirError:
    """The error with a hint that names what the running command has."""
    from hypir_cli.cli.hints import fitting_hint

    name, command = ctx.meta[_RUNNING]
    options = [option for item in command.params for option in item.opts]
    return HypirError(error.message, hint=fitting_hint(error.hint, command=name, options=options))


app = typer.Typer(
    name="hypir",
    cls=LazyGroup,
    help="Restore degraded photographs in one forward pass of a diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def load_command(name: str) -> Any:
    """The command object of a subcommand, with all of its options."""
    module, _, function = COMMANDS[name][0].partition(":")
    single = typer.Typer(
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    single.command(name)(getattr(import_module(f"hypir_cli.cli.{module}"), function))
    return typer.main.get_command(single)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"hypir {__version__}")
        raise typer.Exit()


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _stand_in() -> None:
    """Never run: `LazyGroup` puts the real subcommand in its place."""


for _name, (_, _line) in COMMANDS.items():
    app.command(_name, help=_line)(_stand_in)


def main() -> None:
    """Entry point of the console script."""
    console.print_any_name()
    app(prog_name="hypir")
