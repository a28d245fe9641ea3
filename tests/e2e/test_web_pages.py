"""The pages about people, cameras and programs in headless Chromium, on made-up results: each flow, and its looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra 'web'")
pytest.importorskip("playwright", reason="needs playwright")

from app.gallery.opening import open_store
from app.gallery.store import NewWalk
from app.types import Measure
from app.web.cameras import Camera, Cameras
from app.web.jobs import Job, JobStore
from tests.benchmarks.page import fill
from tests.browser import check_looks, new_page, wait_until
from tests.studio import Studio, compare_run, meet_strangers, new_studio, portrait_of, served

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Anna with two walks, Ben with one; each was enrolled from a run of their own."""
    studio = new_studio(tmp_path)
    for name, videos in (("Anna", ("yard.mp4", "hall.mp4")), ("Ben", ("gate.mp4",))):
        for video in videos:
            result = studio.result({studio.video(video): {1: None}})
            studio.people.name_track(result, 0, 1, name, "Signed form of 3 May", None, True)
    return studio


@pytest.fixture
def page(studio: Studio) -> Iterator[Page]:
    """The list of people."""
    with served(studio.options) as address, new_page() as page:
        page.goto(f"{address}/people")
        page.get_by_role("heading", name="People", exact=True).wait_for()
        yield page


@pytest.mark.slow
def test_a_deleted_walk_is_put_back(page: Page, studio: Studio) -> None:
    page.get_by_role("link", name="Anna").click()
    page.get_by_role("heading", name="2 walks in the gallery").wait_for()
    for undo in ("notice", "bin"):
        page.locator(".walks li", has_text="yard.mp4").get_by_role("button", name="Delete").click()
        page.get_by_role("heading", name="1 walk in the gallery").wait_for()
        page.get_by_text("A walk of Anna from yard.mp4").wait_for()
        if undo == "notice":
            page.get_by_role("button", name="Undo").click()
        else:
            check_looks(page, "deleted-walk")
            page.get_by_role("button", name="Put back").click()
        page.get_by_role("heading", name="2 walks in the gallery").wait_for()
        assert not page.get_by_text("Can be undone").is_visible()
    page.locator(".walks li", has_text="yard.mp4").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete now").click()
    page.get_by_text("Can be undone").wait_for(state="detached")
    assert studio.people.known().names.keys() == {1, 2}


@pytest.mark.slow
def test_what_somebody_said_is_shown_and_taken_back(page: Page, studio: Studio) -> None:
    result = studio.result({studio.video("gate 2.mp4"): {7: None}})
    studio.people.deny(result, 0, 7, 1, denied=True)
    page.get_by_role("link", name="Anna").click()
    section = page.locator("section", has=page.get_by_role("heading", name="Not Anna"))
    section.get_by_text("gate 2.mp4").wait_for()
    check_looks(page, "denied")
    section.get_by_role("button", name="Take back").click()
    section.wait_for(state="detached")


@pytest.mark.slow
def test_a_program_gets_a_token(page: Page, studio: Studio) -> None:
    page.get_by_role("link", name="For programs").click()
    page.get_by_text("No program has a token yet").wait_for()
    page.get_by_label("Name of the program").fill("door sign")
    page.get_by_label("It may").select_option("enrol")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_label("Token", exact=True).wait_for()
    token = page.get_by_label("Token", exact=True).input_value()
    check_looks(page, "token")
    page.get_by_role("button", name="Close").click()
    sent = {"Authorization": f"Bearer {token}"}
    address = page.url.removesuffix("/programs")
    answer = page.request.get(f"{address}/api/people", headers=sent)
    assert [person["name"] for person in answer.json()] == ["Anna", "Ben"]
    page.get_by_text("people (", exact=False).click()
    page.get_by_text("GET /api/people/{person_id}/sightings").wait_for()
    check_looks(page, "programs")
    page.get_by_role("button", name="Revoke the token of door sign").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_text("No program has a token yet").wait_for()
    assert page.request.get(f"{address}/api/people", headers=sent).status == 401


@pytest.mark.slow
def test_consent_is_changed_and_everything_downloaded(page: Page, tmp_path: Path) -> None:
    page.get_by_role("link", name="Anna").click()
    page.get_by_text("Change", exact=True).click()
    page.get_by_label("What Anna agrees to").fill("Signed form of 4 May")
    page.get_by_label("Keep").select_option(label="90 days from now")
    check_looks(page, "consent")
    page.get_by_role("button", name="Save").click()
    page.locator(".quote", has_text="Signed form of 4 May").wait_for()
    page.get_by_text("kept until").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download everything about this person").click()
    assert download.value.suggested_filename == "Anna.zip"
    download.value.save_as(tmp_path / "anna.zip")
    with ZipFile(tmp_path / "anna.zip") as archive:
        assert "walks/1/picture.jpg" in archive.namelist()
    page.get_by_role("button", name="Undo").click()
    page.locator(".quote", has_text="Signed form of 3 May").wait_for()


@pytest.mark.slow
def test_strangers_get_a_name_become_one_or_go(page: Page, studio: Studio) -> None:
    meet_strangers(studio.options.gallery, "yard", "hall", "gate", "door", "roof", "lift")
    with open_store(studio.options.gallery) as gallery:
        for _ in range(5):
            gallery.record("left", source="gate", name=None, stranger="stranger-0003")
    page.reload()
    page.get_by_role("link", name="6 strangers have a number").click()
    page.get_by_role("heading", name="Strangers").wait_for()
    page.get_by_label("To", exact=True).fill("2020-05-03")
    page.get_by_text("None of 6 entries.").wait_for()
    check_looks(page, "strangers-none-then")
    page.get_by_label("To", exact=True).fill("")
    page.get_by_label("From", exact=True).fill("2020-05-03")
    page.locator(".person").nth(5).wait_for()
    check_looks(page, "strangers")
    page.get_by_role("link", name="stranger-0001").click()
    page.locator(".walks li", has_text="yard").wait_for()
    check_looks(page, "stranger")
    page.get_by_label("Is the same stranger as").select_option(label="stranger-0002")
    page.get_by_role("button", name="Merge").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep as two").wait_for()
    check_looks(page, "merging-strangers")
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    page.get_by_role("heading", name="stranger-0002").wait_for()
    page.get_by_label("Name").fill("Cleo")
    page.get_by_label("Consent of this person").fill("said yes")
    page.get_by_role("button", name="Give this name").click()
    page.get_by_role("heading", name="Cleo", exact=True).wait_for()
    page.get_by_role("heading", name="2 walks in the gallery").wait_for()
    by_cameras = page.locator("section", has=page.get_by_role("heading", name="Seen by cameras"))
    assert by_cameras.locator("li .who").all_text_contents() == ["hall", "yard"]
    check_looks(page, "named-stranger")
    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name="4 strangers have a number").click()
    page.get_by_role("link", name="stranger-0003").click()
    seen = page.locator("section", has=page.get_by_role("heading", name="Seen by gate")).locator("li")
    seen.nth(4).wait_for()
    assert seen.count() == 5
    page.get_by_role("button", name="Show more").click()
    seen.nth(5).wait_for()
    page.get_by_label("From", exact=True).fill("2999-01-01")
    page.get_by_text("None of 6 entries.").wait_for()
    check_looks(page, "stranger-not-seen-then")
    page.get_by_label("Name").fill("Anna")
    page.get_by_role("button", name="Give this name").click()
    page.get_by_role("heading", name="3 walks in the gallery").wait_for()
    page.goto(page.url.rpartition("/people")[0] + "/strangers/4")
    page.get_by_role("button", name="Drop stranger-0004").click()
    page.get_by_role("button", name="Drop", exact=True).click()
    page.get_by_text("stranger-0004 is gone.").wait_for()
    assert page.locator(".person .who").all_text_contents() == ["stranger-0006", "stranger-0005"]


@pytest.mark.slow
def test_the_live_page_says_which_stranger_it_was(studio: Studio) -> None:
    meet_strangers(studio.options.gallery, "yard", "hall")
    cameras = Cameras(watching=False, cameras=[Camera(name="yard", address="0")])
    (studio.options.folder / "cameras.json").write_text(cameras.model_dump_json())
    left = {"event": "left", "source": "yard", "time": "2026-11-30T12:00:00+00:00", "name": None}
    events = [
        {**left, "number": 1, "stranger": None},
        {**left, "number": 2, "stranger": "stranger-0001", "new": True},
        {**left, "number": 3, "stranger": "stranger-0002", "new": False},
    ]

    def tell(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "events": events})

    with served(studio.options) as address, new_page() as page:
        page.route("**/api/live", tell)
        page.goto(f"{address}/live")
        told = page.locator(".events li")
        told.nth(2).wait_for()
        assert [text.partition("yard ")[2] for text in told.all_text_contents()] == [
            "stranger-0002 was here again, and has left", "stranger-0001 has left", "Somebody unknown has left"
        ]  # fmt: skip
        page.get_by_label("Give numbers to strangers").focus()
        for ticked in ("true", "false", "true"):
            page.keyboard.press("Space")
            box = "document.getElementById('numbers')"
            wait_until(page, f"{box}.checked === {ticked} && !{box}.ariaDisabled && document.activeElement === {box}")
        check_looks(page, "numbers")
        page.get_by_role("link", name="stranger-0001").click()
        page.get_by_role("heading", name="stranger-0001").wait_for()
        page.goto(f"{address}/live")
        page.get_by_label("Give numbers to strangers").wait_for()
        assert page.get_by_label("Give numbers to strangers").is_checked()


@pytest.mark.slow
def test_who_is_not_somebody_of_a_gallery_video(studio: Studio) -> None:
    job = compare_run(studio, 99.0).job
    with served(studio.options) as address, new_page(expected="status of 404") as page:  # the videos do not exist
        page.goto(f"{address}/runs/{job.job_id}#1/5")
        page.locator(".track", has_text="gallery-002").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Not gallery-002").wait_for()
        check_looks(page, "not-in-gallery-video")
        heights = dialog.locator(".candidates .number").evaluate_all("all => all.map((one) => one.offsetHeight)")
        assert len(set(heights)) == 1, "0.0500 takes no more lines than 2.00"
        dialog.get_by_role("button", name="Not gallery-002").click()
        page.get_by_text("This run does not call this walk gallery-002 any more.").wait_for()
        page.locator(".track .who", has_text="gallery-001").wait_for()
        page.get_by_role("button", name="Undo").click()
        page.locator(".track .who", has_text="gallery-002").wait_for()
        page.locator(".track", has_text="gallery-002").first.click()
        dialog.get_by_role("button", name="Not gallery-002").click()
        page.locator(".track .who", has_text="gallery-001").wait_for()
        check_looks(page, "not-in-gallery-video-any-more")


def test_walks_say_whether_they_help(page: Page, studio: Studio) -> None:
    with studio.people.gallery() as gallery:
        (walk,) = gallery.walks("Ben")
        near = gallery.embeddings([walk.walk_id])[0]
        parts = near.parts + np.float32(0.1)
        gallery.enrol("Anna", [NewWalk(replace(near, parts=parts), "like ben.mp4")], consent="yes")
    page.get_by_role("link", name="Anna").click()
    page.locator(".walks li", has_text="like ben.mp4").get_by_text(
        "More like the walks of Ben, so it may cause wrong names"
    ).wait_for()
    assert page.locator(".standing").count() == 3
    check_looks(page, "standings")


@pytest.mark.slow
def test_walks_say_from_where_they_were_seen_and_how_somebody_walks(page: Page, studio: Studio) -> None:
    measures = (
        Measure("height in the picture", "px", 212.4, None, 40),
        Measure("cadence", "steps/min", 107.25, 2.625, 9, 105.0, 109.5),
        Measure("step length", "body heights", 0.3125, None, 1),
        Measure("camera azimuth", "degrees", 100.0, None, 40),
        Measure("camera elevation", "degrees", 7.0, None, 40),
    )
    with studio.people.gallery() as gallery:
        embedding = gallery.embeddings([gallery.walks("Ben")[0].walk_id])[0]
        walk = NewWalk(replace(embedding, parts=embedding.parts + 9), "measured.mp4", measures=measures)
        gallery.enrol("Anna", [walk], consent="yes")
    page.get_by_role("link", name="Anna").click()
    measured = page.locator(".walks li", has_text="measured.mp4")
    measured.get_by_text("from the left · 212 px high").wait_for()
    measured.locator("summary", has_text="Gait").focus()
    page.keyboard.press("Enter")
    assert measured.locator("dt").all_text_contents() == ["cadence", "step length"]
    assert measured.locator("dd").all_text_contents() == ["107 ± 2.63 steps/min (9)", "0.313 body heights"]
    assert page.locator(".walks details").count() == 1, "of the other walks nobody knows"
    check_looks(page, "gait")


@pytest.mark.slow
def test_walks_and_sightings_say_what_somebody_wore(studio: Studio) -> None:
    result = studio.result({studio.video("red.mp4"): {1: None}})
    result.crop(0, 1).write_bytes(portrait_of((190, 30, 36), (20, 28, 90)))
    anna = studio.people.name_track(result, 0, 1, "Anna", "", None, True)
    with served(studio.options) as address, new_page() as page:
        page.goto(f"{address}/people/{anna}")
        for kind in ("walks", "sightings"):
            page.locator(f".{kind} li", has_text="red.mp4").get_by_text("red above, dark blue below").wait_for()
        assert page.locator(".clothes .swatch").count() == 4, "the other pictures tell nothing"
        check_looks(page, "clothes")


def test_a_question_stays_where_its_page_is_only_shown_anew(page: Page) -> None:
    page.get_by_role("link", name="Ben").click()
    page.get_by_label("Name", exact=True).fill("Benno")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/people/*", hold)
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("button", name="Forget Ben").click()
    page.get_by_role("dialog").get_by_role("heading", name="Forget Ben?").wait_for()
    held[0].continue_()
    page.locator("main h1", has_text="Benno").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    page.get_by_role("heading", name="Benno").wait_for()
    page.get_by_role("button", name="Forget Benno").click()
    page.get_by_role("dialog").wait_for()
    page.go_back()
    page.get_by_role("heading", name="People", exact=True).wait_for()
    assert page.get_by_role("dialog").count() == 0, "it was about the page before"


def test_a_merge_is_undone(page: Page) -> None:
    page.get_by_role("link", name="Ben").click()
    page.get_by_label("Is the same person as").select_option(label="Anna")
    page.get_by_role("button", name="Merge").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    page.get_by_role("heading", name="3 walks in the gallery").wait_for()
    page.get_by_role("link", name="People").click()
    page.get_by_text("Ben became Anna").wait_for()
    check_looks(page, "merged")
    page.get_by_role("button", name="Make two people again").click()
    page.get_by_role("link", name="Ben").wait_for()
    page.get_by_role("link", name="Ben").click()
    page.get_by_role("heading", name="1 walk in the gallery").wait_for()
    page.locator(".sightings a", has_text="gate.mp4").wait_for()


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Page]:
    """The runs of a folder with eight people, 16 runs that know them, and one that failed. No video is kept.

    The failed run and one of the others are of May 3, 2020.
    """
    options = new_studio(tmp_path).options
    fill(options, people=8, runs=16)
    jobs, long_ago = JobStore(options.folder), datetime(2020, 5, 3, 23, 59).timestamp()
    (old,) = (job for job in jobs.all() if "yard 2.mp4" in job.names.values())
    failed = Job(kind="survey", probes=["0" * 32], names={"0" * 32: "dark.mp4"}, state="failed", message="It is dark.")
    for job in (old, failed):
        jobs.save(job.model_copy(update={"created": long_ago}))
    with served(options) as address, new_page(expected="status of 404") as page:
        page.goto(f"{address}/runs")
        page.get_by_role("heading", name="Runs", exact=True).wait_for()
        yield page


@pytest.mark.slow
def test_lists_are_searched(many: Page) -> None:
    assert many.locator(".job").count() == 17
    many.get_by_role("searchbox", name="Find a run").fill("yard 9.mp4")
    many.get_by_text("1 of 17").wait_for()
    many.get_by_role("searchbox", name="Find a run").fill("")
    many.get_by_label("From", exact=True).focus()
    many.keyboard.type("05032020")
    many.get_by_text("1 of 17").wait_for(state="detached")
    assert many.locator(".job").count() == 17
    many.get_by_label("To", exact=True).focus()
    many.keyboard.type("05032020")
    many.get_by_text("2 of 17").wait_for()
    many.get_by_role("searchbox", name="Find a run").fill("yard")
    many.get_by_text("1 of 17").wait_for()
    many.get_by_role("searchbox", name="Find a run").fill("")
    many.get_by_label("To", exact=True).fill("")
    many.get_by_label("From", exact=True).fill("2020-05-04")
    many.get_by_text("15 of 17").wait_for()
    many.get_by_label("From", exact=True).fill("")
    many.get_by_label("Which runs").select_option(label="Without a result")
    many.locator(".job", has_text="dark.mp4").wait_for()
    check_looks(many, "runs")
    many.get_by_role("link", name="dark.mp4").click()
    many.get_by_text("It is dark.").wait_for()
    check_looks(many, "failed-run")
    many.get_by_role("link", name="People").click()
    many.get_by_role("searchbox", name="Find somebody").fill("persón 7")
    many.get_by_text("1 of 8").wait_for()
    many.get_by_role("link", name="Person 7").wait_for()
    check_looks(many, "found")
    many.get_by_role("link", name="Person 7").click()
    many.get_by_label("To", exact=True).fill("2020-05-03")
    many.get_by_text("1 of 6").wait_for()
    assert many.locator(".sightings .who").all_text_contents() == ["yard 2.mp4"]
    check_looks(many, "seen-then")


def test_a_name_is_denied_or_chosen_with_one_click_and_taken_back(many: Page) -> None:
    def named() -> list[str]:
        return many.locator(".track .who").all_text_contents()

    many.get_by_role("link", name="yard 0.mp4").click()
    many.locator(".track").nth(3).wait_for()
    assert named() == ["Person 0", "Person 1", "Person 2", "Unknown"]
    many.locator(".track").first.click()
    many.get_by_role("button", name="Not Person 0").click()
    many.get_by_text("No run will call this walk Person 0 again.").wait_for()
    assert "Person 0" not in named()
    check_looks(many, "denied-walk")
    many.get_by_role("button", name="Undo").click()
    many.get_by_text("Undone.").wait_for()
    many.locator(".track").first.click()
    many.get_by_role("dialog").get_by_role("button", name="This is ").first.wait_for()
    check_looks(many, "nearest")
    chosen = many.get_by_role("dialog").get_by_role("button", name="This is ").first
    name = str(chosen.get_attribute("aria-label")).removeprefix("This is ")
    chosen.click()
    many.locator(".track", has_text=f"{name}enrolled").wait_for()
    many.get_by_role("button", name="Undo").click()
    many.locator(".track", has_text="enrolled").wait_for(state="detached")
