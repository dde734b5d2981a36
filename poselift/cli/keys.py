"""`poselift keys`: API keys of a server."""

from typing import Annotated

import typer

from poselift.cli.exits import BAD_INPUT, exit_with

app = typer.Typer(help="Create API keys for a server that requires them.", no_args_is_help=True, rich_markup_mode=None)


@app.command("new")
def new_key(name: Annotated[str, typer.Argument(help="Owner of the key; the server logs this name.")]) -> None:
    """Create a key, shown this once, and the line to add to the file that POSELIFT_API_KEYS_FILE names."""
    from poselift_service.transport.keys import InvalidKeys
    from poselift_service.transport.keys import new_key as make_key

    try:
        key, stored = make_key(name)
    except InvalidKeys as error:
        raise exit_with(str(error), BAD_INPUT) from error
    typer.echo(f"Key for {name}, not to be seen again: {key}\nLine for the file of keys: {stored.line}")
