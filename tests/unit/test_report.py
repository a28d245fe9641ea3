"""`results.json`: its schema as a file, and what is written.

python -m tests.unit.test_report     # writes app/results/results.schema.json anew
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import app.results
from app.results.report import CSV_COLUMNS, ModelReport, Report, schema, to_csv, to_json
from app.types import ModelCard, Sureness

FILE = Path(app.results.__file__).parent / "results.schema.json"


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def track(**changes: Any) -> dict[str, Any]:
    return {
        "track_id": 1,
        "frames": [0, 2],
        "boxes": [[1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 3.0, 4.0]],
        "status": "identified",
        "identity": "gällery, 1-001",
        "confidence": 0.75,
        "distance": 0.5,
        "threshold": 1.0,
        "reason": None,
        "candidates": [{"identity": "gällery, 1-001", "distance": 0.5}],
        "pieces": 8,
        "agreeing": 7,
    } | changes


def report(**changes: Any) -> Report:
    video = {
        "video": 'in/gällery, "1".mp4',
        "name": 'gällery, "1"',
        "width": 6,
        "height": 4,
        "fps": 12.5,
        "frame_count": 3,
        "tracks": [track()],
    }
    unknown = track(status="unknown", identity=None, confidence=None, reason="too far, by far")
    unusable = track(
        track_id=2,
        status="unusable",
        identity=None,
        distance=None,
        threshold=None,
        reason="short",
        pieces=None,
        agreeing=None,
    )
    card = ModelCard("gait", "gei", "weight-free", "Apache-2.0")
    return Report.model_validate(
        {
            "gaitprint": "0.1",
            "created": "2026-01-01T00:00:00+00:00",
            "models": {"gait": ModelReport.of(card).model_dump()},
            "settings": {"output": {"folder": "output"}},
            "timings": {"total": 1.5},
            "gallery": video,
            "probes": [video | {"tracks": [unknown, unusable | {"candidates": []}]}],
        }
        | changes
    )


def content(schema: str) -> Any:
    """What a schema says: versions of pydantic write 1 or 1.0, and some say that what is not named is allowed."""
    return json.loads(
        schema, object_hook=lambda one: {k: v for k, v in one.items() if (k, v) != ("additionalProperties", True)}
    )


def test_the_schema_file_is_that_of_the_code() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert content(FILE.read_text(encoding="utf-8")) == content(schema_text()), "run: python -m tests.unit.test_report"


def test_a_report_fits_the_schema_and_survives_the_way_through_json() -> None:
    text = to_json(report())
    jsonschema.validate(json.loads(text), json.loads(FILE.read_text(encoding="utf-8")))
    assert Report.model_validate_json(text) == report()
    assert text.endswith("}\n")
    assert "gällery" in text


@pytest.mark.parametrize(
    "broken",
    [
        {"schema_version": 2},
        {"surplus": 1},
        {"probes": [{"video": "x"}]},
        {
            "gallery": {
                "video": "x",
                "name": "x",
                "width": 1,
                "height": 1,
                "fps": 1.0,
                "frame_count": 1,
                "tracks": [track(status="who")],
            }
        },
        {
            "gallery": {
                "video": "x",
                "name": "x",
                "width": 1,
                "height": 1,
                "fps": 1.0,
                "frame_count": 1,
                "tracks": [track(track_id=0)],
            }
        },
        {
            "gallery": {
                "video": "x",
                "name": "x",
                "width": 1,
                "height": 1,
                "fps": 1.0,
                "frame_count": 1,
                "tracks": [track(boxes=[[1.0, 2.0, 3.0]])],
            }
        },
    ],
    ids=["version", "surplus", "missing", "status", "id", "box"],
)
def test_the_schema_refuses_what_the_models_refuse(broken: dict[str, Any]) -> None:
    content = json.loads(to_json(report())) | broken
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema(), cls=jsonschema.Draft202012Validator)
    with pytest.raises(ValueError, match="validation error"):
        Report.model_validate(content)


def test_a_probe_that_could_not_be_used_has_its_reason() -> None:
    text = to_json(report(failures=[{"video": "in/b.mp4", "reason": "in/b.mp4 is empty"}]))
    jsonschema.validate(json.loads(text), schema(), cls=jsonschema.Draft202012Validator)
    assert json.loads(text)["failures"] == [{"video": "in/b.mp4", "reason": "in/b.mp4 is empty"}]


@pytest.mark.parametrize(
    ("probability", "confidence", "said"),
    [
        (0.17, 0.9, ("17 %", True)),
        (0.5, 0.1, ("50 %", False)),
        (0.9999, None, ("over 99 %", False)),
        (0.0001, None, ("under 1 %", True)),
        (None, 0.8, ("clear", False)),
        (None, 0.6, ("fair", False)),
        (None, 0.5, ("doubtful", True)),
        (None, None, ("", False)),
    ],
)
def test_only_a_probability_is_said_as_a_number(
    probability: float | None, confidence: float | None, said: tuple[str, bool]
) -> None:
    assert Sureness.of(probability, confidence) == said


def test_nothing_but_numbers_is_a_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        report(timings={"total": float("nan")})


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1+1|cmd", "@SUM(1)", "\t=1", "\r=1", "-\r=1", '=HYPERLINK("http://x")']
)
def test_no_cell_of_the_table_is_a_formula(text: str) -> None:
    odd = report().model_dump()
    for video in (odd["gallery"], *odd["probes"]):
        video |= {"video": text, "name": text}
        for one in video["tracks"]:
            one |= {"identity": text if one["status"] == "identified" else None, "reason": text, "distance": -0.5}
    rows = list(csv.DictReader(io.StringIO(to_csv(Report.model_validate(odd)), newline="")))
    assert [rows[0][column] for column in ("video", "path", "identity", "reason")] == [
        f"'{text}".replace("\r", " ")
    ] * 4
    assert {row["distance"] for row in rows} == {"-0.5000"}, "a number stays one"
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@", "\t", "\r"))]


def test_the_table_has_a_row_for_each_track() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report()))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["role"], row["status"], row["reason"]) for row in rows] == [
        ("gallery", "identified", ""),
        ("probe", "unknown", "too far, by far"),
        ("probe", "unusable", "short"),
    ]
    assert (rows[0]["video"], rows[0]["path"]) == ('gällery, "1"', 'in/gällery, "1".mp4')
    assert (rows[0]["first_frame"], rows[0]["last_frame"], rows[0]["frames"]) == ("0", "2", "2")
    assert (rows[0]["start_s"], rows[0]["end_s"]) == ("0.0000", "0.2400")
    assert rows[2]["distance"] == ""
    assert [(row["pieces"], row["agreeing"]) for row in rows] == [("8", "7"), ("8", "7"), ("", "")]


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
