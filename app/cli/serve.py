"""``python -m app serve``: the web page."""

from __future__ import annotations

import ipaddress
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.gallery import GALLERY_DB, GalleryOption
from app.cli.options import ConfigOption, SetOption, load_settings
from app.cli.terminal import console, say
from app.errors import MissingExtraError, SettingsError


def serve(
    host: Annotated[str, typer.Option(help="Address to listen at. Any but this machine's own needs a password.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    password: Annotated[
        str | None,
        typer.Option(envvar="GAITPRINT_PASSWORD", help="Password of the page. The variable is safer than the option."),
    ] = None,
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further host name under which browsers reach the page; may be repeated.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of a certificate, to serve over HTTPS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of the certificate's private key.")] = None,
    gallery_db: GalleryOption = GALLERY_DB,
    folder: Annotated[Path, typer.Option(help="Folder for uploads, runs and results.")] = Path("output/web"),
    input_videos: Annotated[Path, typer.Option(help="Folder of videos that the page offers.")] = Path("input_videos"),
    max_upload: Annotated[int, typer.Option(min=1, help="Largest upload in MiB.")] = 2048,
    max_uploads: Annotated[int, typer.Option(min=0, help="How many uploads are kept at most.")] = 100,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Serve a web page on which people upload videos, watch results and look after the gallery."""
    settings = load_settings(config, set_)  # a mistake is reported now, not by the first run
    local = _is_local(host)
    if not local and not password:
        raise SettingsError(
            f"--host {host} lets other machines in, so a password is needed. Set GAITPRINT_PASSWORD or give --password."
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
        token=None if password else secrets.token_urlsafe(24),
        local_only=local,
        host_names=frozenset(name.lower() for name in names),
        secure=certificate is not None,
        largest_upload=max_upload << 20,
        most_uploads=max_uploads,
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"http{'s' if certificate else ''}://{shown}:{listener.getsockname()[1]}"
        link = f"{address}/?token={options.token}" if options.token else address

        def announce() -> None:
            console.print(f"Gaitprint is at [bold]{escape(link)}[/] (Ctrl-C ends it).", soft_wrap=True)
            if not local and certificate is None:
                say(
                    "Warning: without --certificate the password and all videos cross the network unencrypted.",
                    "yellow",
                )

        # Ctrl-C ends the server without the usual message, because runs continue at the next start by themselves.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            serve(options, listener, certificate, key, announce)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
