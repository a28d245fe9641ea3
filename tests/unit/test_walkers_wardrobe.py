from pathlib import Path

import numpy as np
import pytest

from app.errors import GaitprintError, SettingsError
from app.lab.walkers.dataset import Plan, parse_conditions, parse_modalities
from app.lab.walkers.wardrobe import Wardrobe
from app.lab.walkers.wardrobe.fitting import BONES
from app.lab.walkers.wardrobe.makehuman import Garment
from app.lab.walkers.wardrobe.mesh import Mesh


def square(count: int = 6) -> Mesh:
    """A unit square in the floor, two faces a cell."""
    x, y = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(count**2)], 1).astype(np.float32)
    i = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + count + 1], 1), np.stack([i, i + count + 1, i + count], 1)])
    weights = np.zeros((len(points), BONES), np.float32)
    weights[:, 0], weights[:, 1] = points[:, 0], 1 - points[:, 0]
    return Mesh(points, weights, points[:, :2], faces)


def area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def diagonal(mesh: Mesh) -> np.ndarray:
    return mesh.vertices[:, 0] + 0.37 * mesh.vertices[:, 1]


def test_a_cut_is_exact_and_the_halves_make_the_whole() -> None:
    below, above = square().below(diagonal, 0.61), square().above(diagonal, 0.61)
    assert area(below) + area(above) == pytest.approx(1.0, abs=1e-5)
    assert area(below) == pytest.approx(0.61 - 0.37 / 2, abs=1e-5)  # the line runs from (0.61, 0) to (0.24, 1)
    assert diagonal(below).max() <= 0.61 + 1e-5
    assert diagonal(above).min() >= 0.61 - 1e-5


def test_a_cut_mixes_weights_and_keeps_the_winding() -> None:
    part = square().below(diagonal, 0.61)
    np.testing.assert_allclose(part.weights[:, 0], part.vertices[:, 0], atol=1e-6)
    np.testing.assert_allclose(part.normals(), np.tile([0, 0, 1], (len(part.vertices), 1)), atol=1e-5)


def test_nothing_and_everything_can_be_cut_away() -> None:
    assert len(square().below(diagonal, -1.0).faces) == 0
    assert area(square().below(diagonal, 9.0)) == pytest.approx(1.0)


def test_inflating_moves_along_the_normals() -> None:
    np.testing.assert_allclose(square().inflated(0.02).vertices[:, 2], 0.02, atol=1e-6)


def write_asset(folder: Path, base: str = "hm08", vertex: str = "0 1 2 0.2 0.3 0.5 0.1 0.2 0.3") -> Path:
    path = folder / "shawl.mhclo"
    path.write_text(
        f"# clothes\nbasemesh {base}\nobj_file shawl.obj\nx_scale 0 1 1.0\ny_scale 0 2 1.0\nz_scale 0 3 1.0\n"
        f"verts 0\n{vertex}\n4\n5\n\ndelete_verts\n3 7 - 9\n"
    )
    (folder / "shawl.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2/2 3/3\n")
    return path


def test_a_garment_follows_the_body(tmp_path: Path) -> None:
    garment = Garment.read(write_asset(tmp_path))
    assert garment.deleted.tolist() == [3, 7, 8, 9]
    points = np.random.default_rng(0).normal(size=(19158, 3)).astype(np.float32)
    weights = np.zeros((19158, BONES), np.float32)
    weights[:, 0] = 1
    fitted = garment.fitted(points, weights)
    np.testing.assert_array_equal(fitted.vertices[1], points[4])
    # MakeHuman's offset x, y, z is the person's left, up, forward.
    scale = [abs(points[0, axis] - points[other, axis]) for axis, other in ((1, 1), (2, 2), (0, 3))]
    expected = points[[0, 1, 2]].T @ np.float32([0.2, 0.3, 0.5])
    expected += np.float32([0.3 * scale[2], 0.1 * scale[0], 0.2 * scale[1]])
    np.testing.assert_allclose(fitted.vertices[0], expected, rtol=1e-5)


@pytest.mark.parametrize("asset", [{"base": "hm05"}, {"vertex": "0 1 99999 0.2 0.3 0.5 0 0 0"}, {"vertex": "0 1"}])
def test_a_foreign_or_broken_garment_is_refused(tmp_path: Path, asset: dict[str, str]) -> None:
    with pytest.raises(GaitprintError, match=r"shawl\.mhclo cannot be read"):
        Garment.read(write_asset(tmp_path, **asset))


def test_an_empty_wardrobe_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Wardrobe(tmp_path).suits == ()
    assert "holds no .mhclo" in caplog.text
    with pytest.raises(GaitprintError, match="has no 'frock'"):
        Wardrobe(tmp_path).garment("frock")


def test_conditions_and_modalities_are_read() -> None:
    assert parse_conditions("nm:6, bg:2") == (("nm", 6), ("bg", 2))
    assert parse_modalities("silhouette,pose") == ("silhouette", "pose")
    for text in ("nm", "nm:0", "nm:2,nm:3", "xx:1", ""):
        with pytest.raises(SettingsError):
            parse_conditions(text)
    with pytest.raises(SettingsError, match="The modalities are: silhouette"):
        parse_modalities("silhouettes")
    with pytest.raises(SettingsError):
        Plan(subjects=0)
