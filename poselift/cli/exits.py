"""Exit codes: errors of the caller's input end in one sentence on stderr, never in a traceback."""

from typing import Any

import typer

from poselift.errors import sentence_about

BAD_INPUT = 2
INTERRUPTED = 130


class PoseliftGroup(typer.core.TyperGroup):
    """Translate the errors of commands into exit codes: bad input exits with 2, Ctrl-C with 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of a context."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise exit_with("stopped.", INTERRUPTED) from error
        except Exception as error:
            if (sentence := sentence_about(error)) is None:
                raise
            raise exit_with(sentence, BAD_INPUT) from error


def exit_with(sentence: str, code: int) -> typer.Exit:
    """Print a sentence to stderr; the exception to raise."""
    typer.echo(f"poselift: {sentence}", err=True)
    return typer.Exit(code)
