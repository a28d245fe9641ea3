"""``python -m app tokens``: let programs use the requests of the web page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from app.cli.terminal import console, say
from app.errors import MissingExtraError

if TYPE_CHECKING:
    from app.web.clients import Clients

app = typer.Typer(help="Let programs use the requests of the web page.", no_args_is_help=True)
FolderOption = Annotated[Path, typer.Option(help="The folder of the page, as of `serve`.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the program is called.")]
FOLDER = Path("output/web")


@app.command()
def create(
    name: NameArgument,
    scope: Annotated[
        Literal["read", "enrol", "admin"],
        typer.Option(help="read sees everything, enrol also uploads, starts runs and names walks, admin may do all."),
    ] = "read",
    folder: FolderOption = FOLDER,
) -> None:
    """Make a token for a program, and print it. It is not kept, so it cannot be printed again."""
    token = _clients(folder).create(name.strip()[:60] or "program", scope)
    console.print(token, soft_wrap=True, highlight=False)
    say("Send it as the header Authorization: Bearer TOKEN. Whoever has it may do what its scope allows.", "yellow")


@app.command("list")
def list_(folder: FolderOption = FOLDER) -> None:
    """List the programs that have a token."""
    clients = _clients(folder).all()
    table = Table("program", "scope", "made", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for client in clients:
        table.add_row(Text(client.name, style="bold"), client.scope, f"{client.created.astimezone():%Y-%m-%d}")
    console.print(table if clients else "No program has a token. `python -m app tokens create NAME` makes one.")


@app.command()
def revoke(name: NameArgument, folder: FolderOption = FOLDER) -> None:
    """Take a program's token away."""
    _clients(folder).revoke(name)
    say(f"The token of {name} is worth nothing from now on.")


def _clients(folder: Path) -> Clients:
    try:
        from app.web.clients import Clients
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"The web page needs the package '{error.name}': pip install -e '.[web]'") from error
    return Clients(folder)
