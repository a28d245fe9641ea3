"""report.html: what it says, that nothing given can break out of it, and the pictures in it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.results.page import page
from app.results.pictures import TrackPictures, pictures_of
from app.results.report import (
    CandidateReport,
    FailureReport,
    ModelReport,
    Report,
    TrackReport,
    VideoReport,
    to_csv,
)
from app.results.view import Colours, ShownVideo, VideoView
from app.settings import Settings
from app.types import GaitSequence, Image, Status
from app.video.paint import colour_of

HOSTILE = """<img src=x onerror="alert(1)">'&</script><!--"""
VOID = {"meta", "img", "link", "br", "input", "hr"}


class Tags(HTMLParser):
    """Every tag with its attributes; checks that they nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [a for name, a in self.tags if name == tag and wanted.items() <= a.items()]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def track(
    number: int,
    frames: Sequence[int],
    identity: str | None = None,
    distances: dict[str, float] | None = None,
    status: Status | None = None,
    **more: Any,
) -> TrackReport:
    candidates = sorted((distances or {}).items(), key=lambda item: item[1])
    return TrackReport(
        **{
            "track_id": number,
            "frames": list(frames),
            "boxes": [[100.0, 50, 140, 150]] * len(frames),
            "status": status or ("identified" if identity else "unknown"),
            "identity": identity,
            "confidence": 0.8 if identity and distances else None,
            "distance": candidates[0][1] if candidates else None,
            "threshold": 0.5 if distances else None,
            "reason": None if identity else "nobody is near",
            "candidates": [CandidateReport(identity=name, distance=distance) for name, distance in candidates],
            **more,
        }
    )


def video(name: str, tracks: list[TrackReport], warnings: Sequence[str] = (), frame_count: int = 250) -> VideoReport:
    return VideoReport(
        video=name,
        name=Path(name).name,
        width=320,
        height=240,
        fps=25,
        frame_count=frame_count,
        warnings=list(warnings),
        tracks=tracks,
    )


def report(gallery: VideoReport | None, probes: list[VideoReport], **settings: Any) -> Report:
    model = ModelReport(
        name="gei",
        model_id="gei",
        origin="given",
        file="/home/jane/secret/gait.onnx",
        sha256="0123456789abcdef",
        licence="MIT",
        runtime="numpy",
        note="weak",
    )
    return Report(
        gaitprint="1.2.3",
        created="2026-11-21T13:45:00+01:00",
        models={"gait": model},
        settings={
            key: {name: str(value) if isinstance(value, Path) else value for name, value in section.items()}
            if isinstance(section, dict)
            else str(section)
            for key, section in (asdict(Settings()) | settings).items()
        },
        timings={"decode": 1.5, "total": 4.25},
        gallery=gallery,
        probes=probes,
    )


def shown(of: VideoReport, pictures: dict[int, TrackPictures] | None = None) -> ShownVideo:
    return ShownVideo(of, Path("run") / f"{Path(of.video).stem} painted.mp4", pictures or {})


def usual(**more: Any) -> str:
    known = video("/home/jane/gallery.mp4", [track(1, range(100), "Ann"), track(2, range(50, 120), "Bob")])
    probe = video(
        "/home/jane/probe.mp4",
        [
            track(1, range(25, 100), "Ann", {"Ann": 0.25, "Bob": 0.75}),
            track(2, [*range(10), *range(50, 60)], None, {"Ann": 0.6, "Bob": 0.55}),
            track(3, range(5), status="unusable", reason="too short: 0.2 s"),
        ],
        ["/home/jane/probe.mp4 is damaged: it breaks off"],
    )
    return page(report(known, [probe]), shown(known), [shown(probe)], ["Ann", "Bob"], **more)


def test_each_video_has_a_picture_before_it_plays() -> None:
    probe = video("probe.mp4", [track(1, range(50), "Ann", {"Ann": 0.2})])
    for poster, wanted in ((b"\xff\xd8 picture", "data:image/jpeg;base64,/9ggcGljdHVyZQ=="), (None, None)):
        shown_with = ShownVideo(probe, Path("run/probe.mp4"), {}, poster)
        (tag,) = Tags(page(report(None, [probe]), None, [shown_with], ["Ann"])).all("video")
        assert tag.get("poster") == wanted


def test_the_page_says_who_was_seen_when_and_how_near() -> None:
    tags = Tags(usual())
    assert "1 of 2 walks named" in tags.words
    assert "clear" in tags.words
    assert "80 %" not in tags.words, "a confidence is no probability"
    assert "Nobody is near." in tags.words
    assert "1 track was not used" in tags.words
    assert "too short: 0.2 s" in tags.words
    (bar,) = [a for a in tags.all("a", **{"class": "span identified"}) if a["data-video"] == "probe-1-video"]
    assert bar["data-seek"] == "1.00"
    assert bar["style"].startswith("left:10.00%;width:30.00%")
    assert bar["aria-label"] == "Ann, track 1, 1.0 – 4.0 s: play from here"
    assert {a["data-says"] for a in tags.all("td") if "data-says" in a} == {
        "probe.mp4, track 1 to Ann: 0.2500, the name of the walk",
        "probe.mp4, track 1 to Bob: 0.7500",
        "probe.mp4, track 2 to Ann: 0.6000",
        "probe.mp4, track 2 to Bob: 0.5500",
    }


def test_every_link_has_its_target_and_every_id_is_there_once() -> None:
    tags = Tags(usual())
    ids = [a["id"] for _, a in tags.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for a in tags.all("a")} <= set(ids)
    assert {a["data-video"] for _, a in tags.tags if "data-video" in a} <= set(ids)
    assert {a["aria-labelledby"] for _, a in tags.tags if "aria-labelledby" in a} <= set(ids)


def test_the_page_can_be_used_by_everybody() -> None:
    tags = Tags(usual())
    assert tags.all("html", lang="en")
    assert tags.all("a")[0]["href"] == "#content", "the first stop of the Tab key skips to the content"
    assert tags.all("main", id="content")
    assert all("alt" in a for a in tags.all("img"))
    levels = [int(name[1]) for name, _ in tags.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper - before <= 1 for before, deeper in itertools.pairwise(levels))


def test_nothing_is_fetched_and_no_foreign_script_may_run() -> None:
    html = usual()
    tags = Tags(html)
    assert not re.search(r"https?:|@import|url\(", html)
    sources = [a[name] for _, a in tags.tags for name in ("src", "href", "poster") if name in a]
    assert all(source.startswith(("#", "data:")) or source.endswith("painted.mp4") for source in sources)
    (policy,) = [a["content"] for a in tags.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*)</script>", html, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy


def test_whatever_it_is_given_is_text() -> None:
    known = video(f"{HOSTILE}.mp4", [track(1, range(100), HOSTILE)])
    probe = video(
        HOSTILE,
        [
            track(1, range(50), HOSTILE, {HOSTILE: 0.2}),
            track(2, range(50), None, {HOSTILE: 0.9}, reason=HOSTILE),
            track(3, range(5), status="unusable", reason=HOSTILE),
        ],
        [HOSTILE],
    )
    models = {HOSTILE: report(known, []).models["gait"].model_copy(update={"name": HOSTILE, "note": HOSTILE})}
    whole = report(known, [probe]).model_copy(update={"models": models})
    html = page(whole, shown(known), [shown(probe)], [HOSTILE])
    tags = Tags(html)
    assert "<img src=x" not in html
    assert html.count("<script") == html.count("</script") == 1
    assert not [name for _, a in tags.tags for name in a if name.startswith("on")]
    assert "<img src=x" in tags.words


def test_no_path_of_the_machine_is_told() -> None:
    html = usual()
    assert "jane" not in html
    assert "secret" not in html
    assert "gait.onnx" in html
    assert "probe.mp4 is damaged" in html


def test_colours_are_those_of_the_painted_videos() -> None:
    colours = Colours(["Ann", "Bob"])
    assert colours.of("Bob") == "rgb({} {} {})".format(*colour_of(1))
    assert colours.of(None) == "rgb(220 220 220)"
    assert colours.of(None, usable=False) == "rgb(80 80 80)"
    assert colours.of("Bob") in usual()


def test_videos_lie_beside_the_page_or_in_it(tmp_path: Path) -> None:
    assert [a["src"] for a in Tags(usual()).all("video")] == ["probe%20painted.mp4", "gallery%20painted.mp4"]
    probe = video("probe.mp4", [track(1, range(50), "Ann", {"Ann": 0.2})])
    painted = tmp_path / "painted.mp4"
    painted.write_bytes(b"some video")
    html = page(report(None, [probe]), None, [ShownVideo(probe, painted, {})], ["Ann"], embed_videos=True)
    assert Tags(html).all("video")[0]["src"] == "data:video/mp4;base64," + base64.b64encode(b"some video").decode()


def test_a_name_that_is_more_likely_wrong_bears_a_question_mark() -> None:
    walks = [
        track(1, range(50), "Ann", {"Ann": 0.2}, probability=0.08),
        track(2, range(60, 90), None, {"Bob": 0.6}, probability=0.3),
    ]
    tags = Tags(page(report(None, [of := video("probe.mp4", walks)]), None, [shown(of)], ["Ann"]))
    assert "Ann? Track 1" in tags.words
    assert tags.words.count("Ann?") >= 3, "the card of the person, the timeline and the card of the walk"
    assert "probability 8 %" in tags.words
    assert "nearest: Bob, 30 %" in tags.words
    assert "probability 30 %" not in tags.words, "it would be that of being unknown"


def test_a_doubtful_walk_bears_its_question_mark_on_the_card_of_a_person_who_is_sure() -> None:
    walks = [
        track(1, range(50), "Ann", {"Ann": 0.2}, probability=0.97),
        track(2, range(60, 90), "Ann", {"Ann": 0.6}, probability=0.1),
    ]
    tags = Tags(page(report(None, [of := video("probe.mp4", walks)]), None, [shown(of)], ["Ann"]))
    assert tags.words.count("Ann?") == 2, "on the card of the person, and the card of the walk"


def test_probes_that_could_not_be_used_are_told() -> None:
    of = video("probe.mp4", [track(1, range(50), "Ann", {"Ann": 0.2})])
    failure = FailureReport(video="/home/jane/dark.mp4", reason="/home/jane/dark.mp4 is empty.")
    html = page(report(None, [of]).model_copy(update={"failures": [failure]}), None, [shown(of)], ["Ann"])
    assert "could not be used dark.mp4 is empty." in Tags(html).words
    assert "jane" not in html


def test_a_gallery_that_is_no_video_has_portraits_probabilities_and_margins() -> None:
    walk = track(2, range(50), "Bob", {"Bob": 0.2, "Ann": 0.6}, probability=0.93, margin=0.4, part_of=1)
    probe = video("probe.mp4", [walk])
    html = page(report(None, [probe]), None, [shown(probe)], ["Ann", "Bob"], {"Bob": b"a face"})
    tags = Tags(html)
    assert "The walks in probe.mp4 were compared with the gallery. A name" in tags.words
    assert "probability 93 %" in tags.words
    assert "Margin to the next person: 0.400" in tags.words
    assert "cut from track 1" in tags.words
    assert base64.b64encode(b"a face").decode() in html
    assert not tags.all("section", id="gallery")


def test_the_pieces_of_a_walk_are_told_and_doubts_too() -> None:
    sure = track(1, range(50), "Bob", {"Bob": 0.2, "Ann": 0.6}, pieces=8, agreeing=7)
    divided = track(2, range(50), "Bob", {"Bob": 0.4, "Ann": 0.5}, pieces=6, agreeing=4)
    unknown = track(3, range(50), None, {"Ann": 0.6, "Bob": 0.7}, pieces=3, agreeing=1)
    probe = video("probe.mp4", [sure, divided, unknown])
    words = Tags(page(report(None, [probe]), None, [shown(probe)], ["Ann", "Bob"])).words
    assert "7 of 8 pieces of the walk agree." in words
    assert "Only 4 of 6 pieces of the walk agree." in words
    assert " 1 of 3 pieces of the walk are nearest to Ann." in words
    assert words.count("Only") == 1
    assert "compared in short pieces" in words
    assert "pieces" not in Tags(usual()).words


def test_how_tall_somebody_is_beside_others_is_told_where_it_is_known() -> None:
    tall = track(1, range(50), "Bob", {"Bob": 0.2}, stature={"percent": 5.2, "error": 2.9, "others": 3})
    small = track(3, range(50), "Cat", {"Cat": 0.3}, stature={"percent": -4.6, "error": 2.2, "others": 2})
    probe = video("probe.mp4", [tall, track(2, range(50), "Ann", {"Ann": 0.4}), small])
    words = Tags(page(report(None, [probe]), None, [shown(probe)], ["Ann", "Bob", "Cat"])).words
    assert words.count("Height beside others: ") == 2
    assert "Height beside others: +5 ± 3 %" in words
    assert "Height beside others: −5 ± 2 %" in words
    assert "how differently tall the people are" in words
    assert "taller than an average adult" in words
    assert "Height beside others" not in Tags(usual()).words
    (first, second, _) = csv.DictReader(io.StringIO(to_csv(report(None, [probe]))))
    assert (first["stature_percent"], first["stature_error"]) == ("5.2000", "2.9000")
    assert second["stature_percent"] == second["stature_error"] == ""


@pytest.mark.parametrize("probability", [None, 0.9])
def test_a_closed_set_is_explained(probability: float | None) -> None:
    walks = [
        track(1, range(50), "Ann", {"Ann": 0.2, "Bob": 0.6}, threshold=None, probability=probability),
        track(2, range(50), None, {"Ann": 0.7}, threshold=None, reason="Ann was given to track 1"),
    ]
    probe = video("probe.mp4", walks)
    html = page(report(None, [probe]), None, [shown(probe)], ["Ann", "Bob"])
    words = Tags(html).words
    assert "Closed set: everybody in the probe is taken to be in the gallery. There is no threshold" in words
    assert "a stranger would get a name too" in words
    assert "Ann was given to track 1." in words
    assert "thin line" not in words
    assert 'style="--threshold' not in html
    assert ("assumes that nobody is a stranger" in words) == (probability is not None)
    open_set = Tags(usual()).words
    assert "Closed set" not in open_set
    assert "Threshold: 0.500. A walk that is further than this from everybody is unknown." in open_set
    assert "thin line" in open_set


@pytest.mark.parametrize(
    ("tracks", "heading"),
    [
        ([], "No walk could be compared"),
        ([track(1, range(50), None, {"Ann": 0.9})], "Nobody was recognised"),
        ([track(1, range(50)), track(2, range(50))], "2 walks found The walks in probe.mp4 were not compared with"),
    ],
)
def test_a_run_without_names(tracks: list[TrackReport], heading: str) -> None:
    probe = video("probe.mp4", tracks)
    tags = Tags(page(report(None, [probe]), None, [shown(probe)], ["Ann"]))
    assert heading in tags.words


def test_a_large_gallery_and_many_walks_stay_small() -> None:
    names = [f"person-{place:03d}" for place in range(200)]
    probe = video(
        "probe.mp4",
        [
            track(
                number,
                range(50),
                names[number],
                {name: 0.1 + (place - number) ** 2 for place, name in enumerate(names)},
            )
            for number in range(1, 41)
        ],
    )
    known = video("gallery.mp4", [])
    html = page(report(known, [probe]), shown(known), [shown(probe)], names)
    assert len(html) < 1_500_000
    tags = Tags(html)
    assert len(tags.all("td", tabindex="-1")) == 40 * 60
    assert "140 identities" in tags.words
    assert "160 more people of the gallery were not recognised" in tags.words


def long_page() -> str:
    """Two hundred walks of forty people."""
    names = [f"person-{place:03d}" for place in range(40)]
    rng = np.random.default_rng(0)
    walks = []
    for number in range(1, 201):
        near = names[:-1] if number % 2 else names  # one of the people was not compared with each second walk
        nearest = {name: float(distance) for name, distance in zip(near, rng.uniform(0.4, 2, 40), strict=False)}
        begin = 45 * number
        walks.append(track(number, range(begin, begin + 120, 2), min(nearest, key=nearest.__getitem__), nearest))
    return page(
        report(None, [video("yard.mp4", walks, frame_count=9500)]),
        None,
        [shown(video("yard.mp4", walks, frame_count=9500))],
        names,
    )


def test_many_walks_are_folded_and_can_be_searched() -> None:
    tags = Tags(long_page())
    assert "All 200 walks" in tags.words
    assert len(tags.all("details", **{"class": "all"})) == 1
    assert len(tags.all("input", type="search")) == 1
    assert [names["class"] for names in tags.all("ul", **{"aria-label": "Recognised"})] == ["people many"]
    assert Tags(usual()).all("input") == []


def test_somebody_near_who_was_seen_nowhere_needs_no_colour() -> None:
    probe = video("probe.mp4", [track(1, range(50), None, {"Ann": 0.9})])
    tags = Tags(page(report(None, [probe]), None, [shown(probe)], []))
    assert [a["data-says"] for a in tags.all("td", tabindex="-1")] == ["probe.mp4, track 1 to Ann: 0.9000"]


def test_a_row_for_each_identity_and_each_unknown_and_few_for_the_rest() -> None:
    probe = video(
        "probe.mp4",
        [
            track(1, range(100, 150), "Ann", {"Ann": 0.2}),
            track(2, range(50), "Ann", {"Ann": 0.3}),
            track(3, range(10, 60), None, {"Ann": 0.9}),
            track(4, range(10), status="unusable"),
            track(5, range(20, 30), status="unusable"),
            track(6, range(25, 35), status="unusable"),
        ],
    )
    rows = VideoView(shown(probe), "probe", "p", "p.mp4", Colours(["Ann"])).rows
    assert [(row.name, [view.track.track_id for view in row.tracks]) for row in rows] == [
        ("Ann", [1, 2]),
        ("unknown, track 3", [3]),
        ("not used", [4, 5]),
        ("", [6]),
    ]


def test_a_person_out_of_sight_leaves_a_gap() -> None:
    probe = video("probe.mp4", [track(1, [*range(50), *range(75, 100)], "Ann"), track(2, [0, 5, 10], "Ann")])
    first, second = VideoView(shown(probe), "probe", "p", "p.mp4", Colours(["Ann"])).used
    assert first.stretches == [(0.0, 0.5), (0.75, 0.25)]
    assert second.stretches == [(0.0, 1.0)]


def decoded(picture: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def test_pictures_of_a_walk_and_of_its_parts(tmp_path: Path) -> None:
    frames = np.arange(60)
    silhouettes = np.zeros((60, 64, 64), np.uint8)
    silhouettes[:30, :, 20:40] = 255
    silhouettes[30:, :, 24:28] = 255
    whole = GaitSequence(frames, silhouettes, 25.0)
    (tmp_path / "2.jpg").write_bytes(b"crop")
    found = pictures_of(tmp_path, {1: None, 2: whole.part(slice(30, 60))})
    assert found[1] == TrackPictures()
    assert found[2].crop == b"crop"
    for part, columns in ((slice(30), 20), (slice(30, 60), 4)):
        pictures = pictures_of(tmp_path, {1: whole.part(part)})[1]
        energy, strip = pictures.energy, pictures.strip
        assert energy is not None
        assert strip is not None
        opacity = decoded(energy)[..., 3]
        assert opacity.shape == (64, 44)
        assert np.count_nonzero(opacity == 255) == 64 * columns
        assert decoded(strip).shape == (64, 8 * 44, 4)
        assert np.count_nonzero(decoded(strip)[..., 3]) == 8 * 64 * columns


def test_settings_that_were_changed_stand_first() -> None:
    probe = video("probe.mp4", [])
    output = asdict(Settings().output) | {"folder": Path("/home/jane/results"), "blur": "faces"}
    words = Tags(page(report(None, [probe], output=output), None, [shown(probe)], [])).words
    assert "Changed from the defaults: output.folder results output.blur faces All settings" in words
    assert (
        "All settings have their default values." in Tags(page(report(None, [probe]), None, [shown(probe)], [])).words
    )
