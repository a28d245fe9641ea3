"""Figures of evaluations against those of the reference implementation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from app.gallery.distances import Metric
from app.lab.data.opengait import WalkFile
from app.lab.evaluation.protocol import groups_of, read_protocol, views_of
from app.lab.evaluation.ranking import cmc, reranked, search
from app.lab.evaluation.scores import Score, score

Golden: TypeAlias = dict[str, Any]


@pytest.fixture(scope="module")
def golden(parity: Callable[[str], Path]) -> Golden:
    with np.load(parity("evaluation.npz")) as file:
        return dict(file)


def scores(
    golden: Golden, prefix: str, protocol: str, metric: Metric = "euclidean", partition: Path | None = None
) -> list[Score]:
    rules = read_protocol(protocol)
    people = golden[f"{prefix}_L"]
    names = (people.tolist(), golden[f"{prefix}_T"].tolist(), golden[f"{prefix}_V"].tolist())
    walks = [WalkFile(*name, Path(*name) / "0.pkl") for name in zip(*names, strict=True)]
    features = np.ascontiguousarray(golden[f"{prefix}_F"].swapaxes(1, 2))
    groups = groups_of(rules, walks, partition)
    return score(features, people, views_of(rules, walks), groups, rules, metric=metric)


def rounded_mean(table: Sequence[Sequence[float | None]], without_diagonal: bool) -> float:
    """As in the reference, which rounds the percentages of each pair of views to two digits before the mean."""
    percent = np.round(100 * np.array(table, np.float64), 2)
    if not without_diagonal:
        return float(percent.mean())
    np.fill_diagonal(percent, 0)
    return float(np.mean(percent.sum(axis=1) / (len(percent) - 1)))


@pytest.mark.parametrize(("metric", "key"), [("euclidean", "casiab_euc"), ("cosine", "casiab_cos")])
def test_casia_b(golden: Golden, metric: Metric, key: str) -> None:
    expected = json.loads(str(golden[key]))
    for found in scores(golden, "casiab", "casia-b", metric):
        wanted = expected[f"scalar/test_accuracy/{found.name}@R1"]
        assert rounded_mean(found.tables["Rank-1"], True) == pytest.approx(wanted, abs=1e-9)
        assert found.metrics["Rank-1"].value == pytest.approx(wanted / 100, abs=1e-4)


def test_casia_b_with_all_views_at_once(golden: Golden) -> None:
    expected = json.loads(str(golden["casiab_crossview"]))
    for found in scores(golden, "casiab", "casia-b-all-views"):
        for metric, name in (("Rank-1", "Rank@1"), ("mAP", "mAP")):
            wanted = expected[f"scalar/test_accuracy/{found.name}-{name}"]
            assert rounded_mean(found.tables[metric], False) == pytest.approx(wanted, abs=1e-9)


def test_gait3d(golden: Golden, tmp_path: Path) -> None:
    names = zip(*(golden[f"g3d_{kind}"].tolist() for kind in "LTV"), strict=True)
    partition = tmp_path / "partition.json"
    partition.write_text(json.dumps({"PROBE_SET": ["-".join(name) for name in names if name[1].startswith("camid")]}))
    (found,) = scores(golden, "g3d", "gait3d", partition=partition)
    assert found.probes == 300
    for name, wanted in json.loads(str(golden["g3d"])).items():
        value = found.metrics[name.rpartition("/")[2]].value
        assert value is not None
        assert 100 * value == pytest.approx(wanted, rel=1e-6)


def test_ccpg(golden: Golden) -> None:
    expected = json.loads(str(golden["ccpg"]))
    for found in scores(golden, "ccpg", "ccpg"):
        np.testing.assert_allclose(
            100 * np.array(found.tables["Rank-1"], np.float64),
            expected[f"scalar/test_accuracy/{found.name}"],
            atol=1e-9,
        )


def test_ranks_precision_and_penalty(golden: Golden) -> None:
    people = np.concatenate([golden["r_pl"], golden["r_gl"]]).astype(np.int64)
    probes, gallery = people[: len(golden["r_pl"])], people[len(golden["r_pl"]) :]
    found = search(golden["r_d"].astype(np.float64), probes, gallery)
    known = found.first >= 0  # the reference leaves the others out here
    np.testing.assert_allclose(cmc(found.first[known], 50), golden["rank_cmc"], rtol=1e-6)
    np.testing.assert_allclose(found.precision[known], golden["rank_ap"], rtol=1e-9)
    np.testing.assert_allclose(found.inverse[known], golden["rank_inp"], rtol=1e-9)
    dropped = (probes[:, None] == gallery) & (golden["r_pv"][:, None] == golden["r_gv"])
    found = search(golden["r_d"].astype(np.float64), probes, gallery, dropped)
    np.testing.assert_allclose(cmc(found.first[found.first >= 0], 50), golden["many_cmc"], rtol=1e-6)
    assert np.nanmean(found.precision) == pytest.approx(float(golden["many_mAP"]), rel=1e-9)
    assert np.nanmean(found.inverse) == pytest.approx(float(golden["many_mINP"]), rel=1e-9)
    np.testing.assert_allclose([cmc(found.first, 1)[0], np.nanmean(found.precision)], golden["acc_map"], rtol=1e-7)


def test_reranking(golden: Golden) -> None:
    found = reranked(golden["rerank_in"].astype(np.float64), len(golden["rerank_out"]))
    # The reference computes in half precision, whose steps are 2 ** -11 here; done so, the same formulas give its
    # numbers to the last bit.
    np.testing.assert_allclose(found, golden["rerank_out"], atol=2**-10)
