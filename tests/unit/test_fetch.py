"""Downloads, against a server in this process that cuts lines, changes files and answers nonsense."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.cli.main import main
from app.errors import CheckpointError, OutputError
from app.gait.opengait import FAMILIES
from app.hub.fetch import direct, fetch
from app.hub.inventory import registry_of
from app.weights.published import Address, Licence, Published, published
from app.weights.registry import gait_models
from tests.contract.samples import CHECKPOINTS, Evil


@dataclass
class Site:
    """What the server does: `cuts` are the bytes sent on each of the next connections before it hangs up."""

    root: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    tag: str = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(dict(self.headers))
            if self.path.startswith("/moved/"):
                self.send_response(302)
                self.send_header("Location", site.root + self.path.removeprefix("/moved/"))
                self.end_headers()
                return
            if "gone" in self.path:
                self.send_error(404)
                return
            start, length = 0, len(site.content)
            headers = {"Content-Type": "application/octet-stream", "ETag": site.tag}
            wanted = self.headers.get("Range", "")
            same = self.headers.get("If-Range", site.tag) in (site.tag, site.headers.get("Last-Modified"))
            if site.ranges and wanted and same:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= length:
                    self.send_error(416)
                    return
                self.send_response(206)
                headers["Content-Range"] = f"bytes {start}-{length - 1}/{length}"
            else:
                self.send_response(200)
            headers["Content-Length"] = str(length - start)
            for key, value in {**headers, **site.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            most = site.cuts.pop(0) if site.cuts else length
            self.wfile.write(site.content[start : start + most])

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:  # a client that hangs up is part of the tests
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("app.hub.fetch.time.sleep", lambda seconds: None)
    with Server(("127.0.0.1", 0), Handler) as server:
        site.root = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return CHECKPOINTS["opengait"](tmp_path_factory.mktemp("weights")).read_bytes()


@pytest.fixture
def model(site: Site, weights: bytes) -> Published:
    site.content = weights
    return at(site.root + "net.pt")


LICENCE = Licence("for tests only", "https://example.org/licence", "Not to be used elsewhere.")


def at(*urls: str, reader: str | None = "opengait", **known: Any) -> Published:
    """A published gait network that lies at `urls`."""
    addresses = tuple(Address(url, url.rpartition("/")[2], **known) for url in urls)
    return Published("net", "gait", "GaitBase", reader, LICENCE, addresses)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def zipped(entries: dict[str, bytes | str], links: tuple[str, ...] = ()) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if name in links else stat.S_IFREG) << 16
            archive.writestr(info, data)
    return content.getvalue()


def test_a_whole_download(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetched = fetch(model, tmp_path, lambda done, total: seen.append((done, total)))
    file = tmp_path / "gait" / "net" / "net.pt"
    assert file.read_bytes() == weights
    assert files(tmp_path) == {"gait/net/net.pt", "fetched.json"}
    assert seen[-1] == (len(weights), len(weights))
    assert (fetched.sha256, fetched.bytes) == (hashlib.sha256(weights).hexdigest(), len(weights))
    assert not fetched.known
    assert json.loads((tmp_path / "fetched.json").read_text())["net"]["sha256"] == fetched.sha256
    choice = gait_models.choose("auto", None, (tmp_path,))
    entry, found = choice.entry, choice.file
    assert (entry.name, found and found.path) == ("opengait", file)


def test_a_cut_connection_goes_on_where_it_broke(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    site.cuts = [1000, 500]
    fetch(model, tmp_path)
    assert [asked.get("Range") for asked in site.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert site.asked[1]["If-Range"] == '"one"'
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights


def test_a_later_command_goes_on(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    site.cuts = [700, 0, 0, 0, 0]
    with pytest.raises(CheckpointError, match="keeps breaking"):
        fetch(model, tmp_path)
    partial = tmp_path / "gait" / ".net.partial"
    assert partial.read_bytes() == weights[:700]
    assert not gait_models.choose("auto", None, (tmp_path,)).file
    site.asked.clear()
    fetch(model, tmp_path)
    assert [asked.get("Range") for asked in site.asked] == ["bytes=700-"]
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights
    assert not partial.exists()


def test_a_part_is_asked_for_behind_a_redirection_too(site: Site, model: Published, tmp_path: Path) -> None:
    site.cuts = [1000]
    fetch(at(site.root + "moved/net.pt"), tmp_path)
    assert [asked.get("Range") for asked in site.asked] == [None, None, "bytes=1000-", "bytes=1000-"]
    assert (tmp_path / "gait/net/net.pt").read_bytes() == site.content


@pytest.mark.parametrize("how", ["changed", "no ranges", "weak tag", "shorter", "another address", "no notes"])
def test_what_does_not_belong_together_is_not_joined(
    how: str, site: Site, model: Published, weights: bytes, tmp_path: Path
) -> None:
    changed = weights + b"\0" * 2000  # torch reads zip archives from their end, and allows this much after it
    site.content = changed
    site.cuts = [len(weights) + 1000, 0, 0, 0, 0]
    if how == "weak tag":
        site.tag, site.headers = 'W/"one"', {"Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}
    with pytest.raises(CheckpointError, match="keeps breaking"):
        fetch(model, tmp_path)
    site.asked.clear()
    site.content = weights
    if how == "no ranges":
        site.ranges = False
    elif how == "another address":
        model = at(site.root + "other/net.pt")
    elif how == "no notes":
        (tmp_path / "gait" / ".net.partial.json").unlink()
    elif how == "changed":
        site.tag = '"two"'
    elif how == "weak tag":
        site.headers = {"Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
    # "shorter": the server takes the part to be of the same file
    fetch(model, tmp_path)
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights
    if how == "weak tag":
        assert site.asked[0]["If-Range"] == "Sat, 21 Nov 2026 10:00:00 GMT"
    assert ("Range" in site.asked[0]) == (how not in ("another address", "no notes"))


def test_a_part_that_was_not_asked_for_is_refused(site: Site, model: Published, tmp_path: Path) -> None:
    site.cuts = [700, 0, 0, 0, 0]
    with pytest.raises(CheckpointError):
        fetch(model, tmp_path)
    site.headers = {"Content-Range": "bytes 3-9/10"}
    with pytest.raises(CheckpointError, match="another part"):
        fetch(model, tmp_path)


def test_a_server_that_tells_no_length(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    site.headers = {"Content-Length": ""}
    fetch(model, tmp_path)
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights
    site.content = weights[:-9]
    with pytest.raises(CheckpointError, match=f"has {len(weights) - 9} bytes instead of {len(weights)}"):
        fetch(at(site.root + "net.pt", bytes=len(weights)), tmp_path)


@pytest.mark.parametrize(
    ("path", "known", "headers", "content", "message"),
    [
        ("net.pt", {"bytes": 12}, {}, None, "bytes instead of 12"),
        ("net.pt", {}, {"Content-Type": "text/html; charset=utf-8"}, None, "a web page instead of the file"),
        ("net.pt", {}, {}, b"\n <!DOCTYPE html><title>Quota exceeded</title>", "a web page instead of the file"),
        ("gone/net.pt", {}, {}, None, "answers 404 Not Found"),
    ],
)
def test_answers_that_are_not_the_file(
    site: Site,
    model: Published,
    tmp_path: Path,
    path: str,
    known: dict[str, Any],
    headers: dict[str, str],
    content: bytes | None,
    message: str,
) -> None:
    site.headers = headers
    site.content = content if content is not None else site.content
    model = at(site.root + path, **known)
    with pytest.raises(CheckpointError, match=message) as caught:
        fetch(model, tmp_path)
    by_hand = f"By hand: open {site.root}{path} and put net.pt into {tmp_path / 'gait' / 'net'}."
    assert by_hand in str(caught.value)
    assert files(tmp_path) == set()


def test_nobody_answers(site: Site, model: Published, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with pytest.raises(CheckpointError, match=r"cannot be reached \(.*refused"):
        fetch(at(f"http://127.0.0.1:{port}/net.pt"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    fetched = fetch(at(site.root + "gone/net.pt", site.root + "net.pt"), tmp_path)
    assert fetched.url == site.root + "net.pt"
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights


def test_digests_that_are_known(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    digest = hashlib.sha256(weights).hexdigest()
    assert fetch(at(site.root + "net.pt", sha256=digest, bytes=len(weights)), tmp_path).known
    with pytest.raises(CheckpointError, match=f"SHA-256 is {digest} instead of {'0' * 64}"):
        fetch(at(site.root + "net.pt", sha256="0" * 64), tmp_path)
    assert files(tmp_path) == {"gait/net/net.pt", "gait/net.rejected", "gait/.net.partial.json", "fetched.json"}
    assert gait_models.choose("auto", None, (tmp_path,)).entry.name == "opengait"


def test_digests_are_remembered(site: Site, model: Published, weights: bytes, tmp_path: Path) -> None:
    fetch(model, tmp_path)
    shutil.rmtree(tmp_path / "gait")
    assert fetch(model, tmp_path).known
    site.content = weights + b"\0"
    with pytest.raises(CheckpointError, match=r"authors have replaced the file, remove 'net' from .*fetched\.json"):
        fetch(model, tmp_path)
    assert (tmp_path / "gait/net/net.pt").read_bytes() == weights, "the good one stays"


def test_other_files_are_recognised_as_such(site: Site, model: Published, tmp_path: Path) -> None:
    content = io.BytesIO()
    depth = {"Backbone.forward_block.conv1.conv.weight": torch.zeros(2, 3, 3, 3)}
    weights = {f"{block}.weight": torch.zeros(2) for block in ("Backbone.forward_block.layer1.0.conv1", "FCs.fc_bin")}
    torch.save({"model": {**depth, **weights}}, content)
    site.content = content.getvalue()
    with pytest.raises(CheckpointError, match=r"not net: net\.pt seems to be a LidarGait .* kept as .*net\.rejected"):
        fetch(model, tmp_path)
    assert (tmp_path / "gait/net.rejected").read_bytes() == site.content
    assert not (tmp_path / "gait/net").exists()
    assert gait_models.choose("auto", None, (tmp_path,)).file is None


def test_what_runs_cannot_use_is_kept_if_it_is_safe(site: Site, model: Published, tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"model": {"set_block1.0.weight": torch.zeros(2)}}, content)
    site.content = content.getvalue()
    fetch(replace(model, reader=None), tmp_path)
    assert (tmp_path / "gait/net/net.pt").is_file()
    content = io.BytesIO()
    torch.save({"model": Evil(tmp_path / "ran")}, content)
    site.content = content.getvalue()
    with pytest.raises(CheckpointError, match="refused"):
        fetch(replace(model, name="evil", reader=None), tmp_path)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "gait/evil").exists()


@pytest.mark.parametrize("prefix", ["", "GREW/", "a/b/"])
def test_archives_are_unpacked(site: Site, weights: bytes, tmp_path: Path, prefix: str) -> None:
    site.content = zipped({f"{prefix}GaitBase.pt": weights, f"{prefix}notes.txt": "x", "__MACOSX/._GaitBase.pt": "x"})
    fetch(at(site.root + "net.zip"), tmp_path)
    inner = prefix.partition("/")[2]
    assert files(tmp_path) == {f"gait/net/{inner}GaitBase.pt", f"gait/net/{inner}notes.txt", "fetched.json"}
    assert gait_models.choose("auto", None, (tmp_path,)).entry.name == "opengait"


def test_a_deployment_folder_in_an_archive(site: Site, tmp_path: Path) -> None:
    names = ("deploy.yaml", "model.pdmodel", "model.pdiparams")
    site.content = zipped({f"human/{name}": "x" for name in names})
    model = replace(at(site.root + "human.zip", reader="pp-humanseg"), stage="segmenter")
    fetch(model, tmp_path)
    assert files(tmp_path / "segmenter") == {f"net/{name}" for name in names}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.pt", "outside of its folder"),
        ("a/../../evil.pt", "outside of its folder"),
        ("/evil.pt", "outside of its folder"),
        ("..\\evil.pt", "outside of its folder"),
        ("C:evil.pt", "outside of its folder"),
        ("link", "is a link"),
    ],
)
def test_unsafe_archives(site: Site, weights: bytes, tmp_path: Path, name: str, message: str) -> None:
    site.content = zipped({"GaitBase.pt": weights, name: "/etc/passwd"}, links=("link",))
    with pytest.raises(CheckpointError, match=f"the archive is unsafe: .*{message}"):
        fetch(at(site.root + "net.zip"), tmp_path / "in" / "checkpoints")
    assert files(tmp_path) == {"in/checkpoints/gait/net.rejected", "in/checkpoints/gait/.net.partial.json"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and no more", "not a complete zip archive"),
        (zipped({}), "holds no weights"),
        (zipped({"notes.md": "nothing"}), "holds no weights"),
    ],
)
def test_archives_without_use(site: Site, tmp_path: Path, content: bytes, message: str) -> None:
    site.content = content
    with pytest.raises(CheckpointError, match=message):
        fetch(at(site.root + "net.zip"), tmp_path)
    assert not (tmp_path / "gait/net").exists()


def test_no_space(site: Site, model: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.files.shutil.disk_usage", lambda path: SimpleNamespace(free=9))
    with pytest.raises(OutputError, match="lacks the space"):
        fetch(model, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        fetch(model, tmp_path / "file")


def test_a_damaged_memory_is_named(site: Site, model: Published, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text("{")
    with pytest.raises(OutputError, match=r"fetched\.json cannot be read"):
        fetch(model, tmp_path)


def test_pages_of_google_drive_lead_to_the_file() -> None:
    found = direct("https://drive.google.com/file/d/1P4m-Y_0/view")
    assert found == "https://drive.usercontent.google.com/download?id=1P4m-Y_0&export=download&confirm=t"
    assert direct("https://example.org/net.pt") == "https://example.org/net.pt"


def test_the_list_is_sound() -> None:
    assert len(published()) >= 40
    urls = [address.url for model in published().values() for address in model.addresses]
    assert len(set(urls)) == len(urls)
    assert all(url.startswith("https://") for url in urls)
    loadable = [title for family in FAMILIES if family.architecture for title in family.title.split(" or ")]
    for model in published().values():
        if model.reader is not None:
            assert registry_of(model.stage).get(model.reader).accepts is not None
        if model.stage == "gait":  # whatever can be loaded runs on videos
            assert model.supported == any(title.startswith(model.family) for title in loadable), model.name
        for address in model.addresses:
            assert address.file == Path(address.file).name
            assert address.sha256 is None or len(bytes.fromhex(address.sha256)) == 32
            assert address.bytes is None or address.bytes > 1e6


# The command


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    model: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run ``fetch``, with `answer` typed, on a list of `net` and of `lost`, which is not there."""
    lost = replace(model, name="lost", addresses=(replace(model.addresses[0], url=model.addresses[0].url + "gone"),))
    listed = {"net": model, "lost": lost}
    monkeypatch.setattr("app.weights.published.published", lambda: listed)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str, answer: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        code = main(["fetch", *arguments, "--checkpoints", str(tmp_path)])
        streams = capsys.readouterr()
        return code, streams.out + streams.err

    return run


def test_the_licence_must_be_accepted(command: Command, site: Site, tmp_path: Path) -> None:
    for answer in ("", "n\n", "\n"):
        code, text = command("net", answer=answer)
        assert code == 2
        assert "Nothing was downloaded" in text
        assert "for tests only: net" in text
        assert "Not to be used elsewhere. https://example.org/licence" in text
    assert site.asked == []
    assert list(tmp_path.iterdir()) == []
    code, text = command("net", answer="y\n")
    assert code == 0
    assert "Read by the gait 'opengait'" in text
    assert hashlib.sha256(site.content).hexdigest() in text


def test_what_is_there_is_not_fetched_again(command: Command, site: Site) -> None:
    assert command("net", "--yes")[0] == 0
    code, text = command("net", "--yes")
    assert code == 0
    assert "net is here already" in text
    assert len(site.asked) == 1
    assert command("net", "--yes", "--again")[0] == 0
    assert len(site.asked) == 2


def test_one_failure_does_not_stop_the_others(command: Command, tmp_path: Path) -> None:
    code, text = command("lost", "net", "--yes")
    assert code == 2
    assert "lost could not be fetched" in text
    assert (tmp_path / "gait/net/net.pt").is_file()


def test_names(command: Command) -> None:
    code, text = command("nett", "--yes")
    assert (code, "Did you mean 'net'?" in text) == (2, True)
    code, text = command()
    assert (code, "fetch --list" in text) == (2, True)
    code, text = command("--list")
    assert code == 0
    assert "for tests only" in text
    assert max(map(len, text.splitlines())) <= 100
