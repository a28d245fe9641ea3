"""``python -m app serve``: the web page."""

from __future__ import annotations

import ipaddress
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.terminal import console
from app.errors import MissingExtraError, SettingsError


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at. Others than this machine's need a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    password: Annotated[
        str | None,
        typer.Option(envvar="GAITPRINT_PASSWORD", help="Asked for by the page. Better given in the variable."),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further name under which the page is called; may be repeated.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file, to serve over TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file with the certificate's key.")] = None,
    gallery_db: Annotated[Path, typer.Option(help="Database of the people who are known.")] = Path("output/gallery.db"),
    folder: Annotated[Path, typer.Option(help="Where uploads, runs and results are kept.")] = Path("output/web"),
    input_videos: Annotated[Path, typer.Option(help="Videos of this folder can be picked.")] = Path("input_videos"),
    max_upload: Annotated[int, typer.Option(min=1, help="Largest upload, MiB.")] = 2048,
    max_uploads: Annotated[int, typer.Option(min=0, help="Most uploads that are kept.")] = 100,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings, for every run.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting; may be repeated.")
    ] = None,
) -> None:
    """Serve a web page: upload videos, watch results, look after the people of the gallery."""
    from app.settings import Settings

    settings = Settings.load(config, set_ or [])  # a mistake is said now, not by the first run
    local = _is_local(host)
    if not local and not password:
        raise SettingsError(
            f"--host {host} lets other machines in, so a password is needed: set GAITPRINT_PASSWORD or give --password."
        )
    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key belong together: give both, or neither.")
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise SettingsError(f"There is no file {file}.")
    try:
        from app.web.options import WebOptions
        from app.web.server import listen, serve
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"The web page needs the package '{error.name}': pip install -e '.[web]'") from error
    names = {host, *(host_name or []), *(() if local else (socket.gethostname(), socket.getfqdn()))}
    options = WebOptions(
        folder=folder,
        gallery=gallery_db,
        input_videos=input_videos,
        config=config,
        assignments=tuple(set_ or ()),
        blur=settings.output.blur,
        password=password or None,
        local_only=local,
        host_names=frozenset(name.lower() for name in names),
        secure=certificate is not None,
        largest_upload=max_upload << 20,
        most_uploads=max_uploads,
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"http{'s' if certificate else ''}://{shown}:{listener.getsockname()[1]}"
        console.print(f"Gaitprint is at [bold]{escape(address)}[/] (Ctrl-C ends it).", soft_wrap=True)
        if not local and certificate is None:
            console.print(
                "[yellow]Warning: without --certificate the password and all videos cross the network in the clear.[/]",
                soft_wrap=True,
            )
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # there is nothing to say: runs go on at the next start
        with suppress(KeyboardInterrupt):
            serve(options, listener, certificate, key)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
