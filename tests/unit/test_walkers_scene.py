"""With the extra ``walkers`` installed: bodies, pictures, truth, data sets. The body model is made once and kept."""

import json
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("anny")

from app.body.skeleton import JOINT
from app.errors import OutputError, SettingsError
from app.lab.walkers.body import BodyModel, BodyTraits
from app.lab.walkers.choices import Burden
from app.lab.walkers.dataset import Plan, subject_walks, walks_of, write_dataset
from app.lab.walkers.demo import make_demo, make_scene
from app.lab.walkers.person import Dressed, Person
from app.lab.walkers.scene import Scene, Seen, write_clip
from app.lab.walkers.wardrobe import Outfit, dress, parts
from app.lab.walkers.wardrobe.fitting import Fitting
from app.types import BODY_PARTS

pytestmark = pytest.mark.filterwarnings("ignore")  # Anny's and torch's own


@pytest.fixture(scope="session")
def body_cache(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.cache.mkdir("walkers"))  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def model(body_cache: Path) -> BodyModel:
    return BodyModel.load(body_cache)


@pytest.fixture(scope="module")
def scene(model: BodyModel) -> Scene:
    return make_scene(
        model, people=3, seed=3, view="oblique", place="street", seconds=1.2, fps=10, width=426, height=240
    )


@pytest.fixture(scope="module")
def people(scene: Scene) -> list[tuple[int, Seen]]:
    return [(frame, seen) for frame in (0, 5, 11) for seen in scene.render(frame)[1]]


@pytest.mark.parametrize("seed", range(4))
def test_bodies_are_as_tall_as_they_say(model: BodyModel, seed: int) -> None:
    traits = BodyTraits.sample(np.random.default_rng(seed))
    shape = model.shape(traits)
    assert np.ptp(shape.vertices[:13380, 2]) == pytest.approx(traits.stature, abs=1e-3)
    assert 30 < shape.mass < 180
    assert shape.vertices[:13380, 2].min() == pytest.approx(0, abs=1e-4)
    assert 0.44 < shape.skeleton_in_shoes(0.0).leg_length / traits.stature < 0.57


def test_sliders_do_what_they_say(model: BodyModel) -> None:
    traits = BodyTraits.sample(np.random.default_rng(1))
    heavy, light = (model.shape(replace(traits, weight=weight)) for weight in (0.9, 0.2))
    assert heavy.mass > light.mass + 10
    long, short = (model.shape(replace(traits, local=(leg, leg, *traits.local[2:]))) for leg in (0.9, -0.9))
    assert long.skeleton_in_shoes(0.0).leg_length > short.skeleton_in_shoes(0.0).leg_length + 0.02


def test_a_person_is_the_same_everywhere_and_each_day_a_little_different() -> None:
    assert Person.sample(5) == Person.sample(5) != Person.sample(6)
    person = Person.sample(5)
    assert person.session(1) == person.session(1)
    assert person.session(1).gait != person.session(2).gait
    assert person.outfit(0) == person.outfit(0) != person.outfit(1)


@pytest.mark.parametrize("bag", get_args(Burden))
def test_feet_and_bags_stay_above_the_floor(model: BodyModel, bag: str) -> None:
    from app.lab.walkers.path import Path as Route

    session = Person.sample(2).session(0, "bg")
    dressed = Dressed.make(model, session, replace(session.outfit(), bag=bag))  # type: ignore[arg-type]
    motion = dressed.walk(session.gait, Route.line((0.0, 0.0), 0.3, 9.0), None, 20, 1.2, 1)
    for frame in range(0, len(motion), 3):
        assert motion.skinned(frame)[0][:, 2].min() > -0.03


def test_everyday_life_changes_some_walks_and_look_alikes_alike() -> None:
    person = Person.sample(2)
    sessions = [person.session(number, ("nm", "bg", "cl")[number % 3], life=0.5) for number in range(60)]
    assert 15 < sum(session.everyday for session in sessions) < 45
    assert not any(person.session(number).everyday for number in range(20))
    outfits = [session.outfit() for session in sessions if session.everyday]
    assert {outfit.hands for outfit in outfits} >= {None, "phone"}
    assert len({outfit.bag for outfit in outfits}) > 3
    assert any(outfit.coat_open for outfit in outfits)
    assert all(outfit.coat is not None for outfit in outfits if outfit.coat_open)
    for outfit in outfits:
        if outfit.hands and outfit.bag in ("handbag", "briefcase", "carrier", "trolley"):
            assert outfit.hands_side != outfit.bag_side
    double = replace(Person.sample(7), dressed_as=2, body=person.body)
    twin = replace(person, dressed_as=2)
    for number in range(6):
        assert twin.session(number, "bg", life=0.5).outfit() == double.session(number, "bg", life=0.5).outfit()


def test_an_open_coat_shows_the_top(model: BodyModel) -> None:
    outfit = Person.sample(2).session(0, "cl").outfit()
    outfit = replace(outfit, coat_length=0.3, hood=False, hat=None, suit=None)

    def area(outfit: Outfit, colour: object) -> int:
        figure = dress(model, model.shape(Person.sample(2).body), outfit)
        return int(np.sum(np.all(figure.materials[figure.material, :3] == np.float32(colour), axis=1)))

    opened = replace(outfit, coat_open=True)
    assert outfit.coat is not None
    assert area(outfit, outfit.top.colour) == 0
    assert area(opened, outfit.top.colour) > 200
    assert 0.5 < area(opened, outfit.coat.colour) / area(outfit, outfit.coat.colour) < 0.98


def test_the_body_follows_the_skeleton(scene: Scene) -> None:
    for actor in scene.actors:
        vertices, _ = actor.motion.skinned(4)
        for joint in ("pelvis", "knee_l", "shoulder_r", "head"):
            place = actor.motion.joints[4, JOINT[joint]]
            assert np.linalg.norm(vertices - place, axis=1).min() < 0.16


def test_the_box_is_the_masks_box(people: list[tuple[int, Seen]]) -> None:
    assert len(people) >= 6
    for _, seen in people:
        rows, columns = np.flatnonzero(seen.mask.any(1)), np.flatnonzero(seen.mask.any(0))
        assert seen.visible == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert seen.full[0] <= seen.visible[0]
        assert seen.full[3] >= seen.visible[3]
        assert 0 <= seen.shown <= 1


def test_masks_do_not_overlap_and_the_nearest_comes_first(people: list[tuple[int, Seen]]) -> None:
    for frame in {frame for frame, _ in people}:
        together = [seen for number, seen in people if number == frame]
        assert np.sum([seen.mask for seen in together], axis=0).max() == 1
        depths = [seen.depth for seen in sorted(together, key=lambda seen: seen.order)]
        assert depths == sorted(depths)


def test_a_person_behind_another_is_hidden(model: BodyModel) -> None:
    from app.lab.walkers.path import Path as Route
    from app.lab.walkers.scene import Actor

    scene = make_scene(
        model, people=2, seed=5, view="front", place="street", seconds=0.4, fps=10, width=426, height=240
    )
    x, y, _ = scene.camera.position
    actors = []
    for actor, distance in zip(scene.actors, (9.0, 11.0), strict=True):
        route = Route.line((x + distance, y), np.pi)
        motion = actor.motion.dressed.walk(actor.session.gait, route, None, 10, 0.4, 1)
        actors.append(Actor(actor.identity, actor.name, actor.session, motion))
    near, far = replace(scene, actors=actors).render(2)[1]
    assert (near.actor.identity, near.order, near.shown) == (1, 0, 1.0)
    assert far.shown < 0.5
    assert (far.keypoints[:, 2] == 1).sum() > 5
    alone = replace(scene, actors=actors[1:]).render(2)[1][0]
    assert alone.full == far.full
    assert alone.shown == 1.0


def test_seen_keypoints_fall_on_the_mask(people: list[tuple[int, Seen]]) -> None:
    on, total = 0, 0
    for _, seen in people:
        for x, y, state in seen.keypoints:
            if state == 2:
                row, column = int(y), int(x)
                on += bool(seen.mask[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].any())
                total += 1
    assert total > 60
    assert on / total > 0.97


def test_pixels_change_where_the_mask_is_and_hardly_elsewhere(scene: Scene) -> None:
    picture, people = scene.render(5)
    empty = (scene.background.render(scene.camera) * 255).astype(int)
    change = np.abs(picture.astype(int) - empty).max(axis=2)
    mask = np.any([seen.mask for seen in people], axis=0)
    assert (change[mask] > 20).mean() > 0.6
    assert (change[~mask] > 20).mean() < 0.10  # shadows


def test_the_same_seed_gives_the_same_picture(model: BodyModel, scene: Scene) -> None:
    again = make_scene(
        model, people=3, seed=3, view="oblique", place="street", seconds=1.2, fps=10, width=426, height=240
    )
    np.testing.assert_array_equal(again.render(3)[0], scene.render(3)[0])
    other = make_scene(
        model, people=3, seed=4, view="oblique", place="street", seconds=1.2, fps=10, width=426, height=240
    )
    assert (other.render(3)[0] != scene.render(3)[0]).any()


def test_a_turning_camera_sees_what_a_turned_camera_would(model: BodyModel) -> None:
    scene = make_scene(
        model, people=1, seed=1, view="handheld", place="square", seconds=0.4, fps=10, width=214, height=120
    )
    camera = scene.camera_at(3)
    assert camera != scene.camera
    seen = scene._backdrop.seen(camera)
    direct = scene.background.render(camera)
    assert np.abs(seen - direct).mean() < 0.02
    assert np.abs(seen - scene.background.render(scene.camera)).mean() > np.abs(seen - direct).mean()


def test_a_clip_and_its_truth_are_written(scene: Scene, tmp_path: Path) -> None:
    write_clip(scene, tmp_path / "scene.mp4", tmp_path / "truth.json", masks=tmp_path / "masks.npz")
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert len(truth["frames"]) == 12
    assert (tmp_path / "scene.mp4").stat().st_size > 1000
    person = truth["frames"][5]["people"][0]
    assert len(person["keypoints"]) == 17
    assert len(person["pose"]) == 21
    with np.load(tmp_path / "masks.npz") as file:
        labels = file["masks"]
    assert labels.shape == (12, 240, 426)
    rows, columns = np.nonzero(labels[5] == person["id"])
    assert person["box"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_an_unknown_clip_is_refused_before_anything_is_filmed(model: BodyModel, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no clip 'probe9'\. Its clips are: gallery, probe1"):
        make_demo(tmp_path, model, only=["gallery", "probe9"])
    assert not list(tmp_path.iterdir())


def test_impossible_scenes_are_refused(model: BodyModel) -> None:
    with pytest.raises(SettingsError):
        make_scene(model, people=0)
    with pytest.raises(SettingsError, match="The cameras are front"):
        make_scene(model, view="top")  # type: ignore[arg-type]


PLAN = Plan(
    subjects=2, seed=9, conditions=(("nm", 1), ("bg", 1)), views=(0, 90), frames=4, modalities=("silhouette", "pose")
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def dataset(model: BodyModel, body_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walkers") / "set"
    write_dataset(folder, PLAN, cache=body_cache)
    return folder


def test_a_data_set_has_opengaits_layout(dataset: Path) -> None:
    names = [name for name in files(dataset) if name.endswith(".pkl")]
    assert len(names) == 2 * 2 * 2 * 2
    silhouettes = pickle.loads((dataset / "data/00001/bg-01/090/0_silhouette.pkl").read_bytes())
    poses = pickle.loads((dataset / "data/00001/bg-01/090/1_pose.pkl").read_bytes())
    assert silhouettes.shape == (4, 64, 64)
    assert silhouettes.dtype == np.uint8
    assert poses.shape == (4, 17, 3)
    assert (silhouettes.any(axis=2)).all()  # the body fills all 64 rows
    assert 0.1 < (silhouettes > 127).mean() < 0.5
    assert json.loads((dataset / "partition.json").read_text())["TEST_SET"] == ["00001", "00002"]


def test_a_data_set_holds_heatmaps_of_its_poses(model: BodyModel) -> None:
    from app.gait.heatmaps import heatmaps

    plan = replace(PLAN, subjects=1, conditions=(("nm", 1),), views=(90,), modalities=("heatmap",))
    ((*_, alone),) = subject_walks(plan, 0, model)
    ((*_, both),) = subject_walks(replace(plan, modalities=("pose", "heatmap")), 0, model)
    assert list(alone) == ["heatmap"]
    assert alone["heatmap"].shape == (4, 2, 64, 64)
    np.testing.assert_array_equal(alone["heatmap"], heatmaps(both["pose"]))
    assert alone["heatmap"].any(axis=(2, 3)).all()


def test_a_data_set_holds_the_parts_of_its_silhouettes(model: BodyModel) -> None:
    plan = replace(PLAN, subjects=1, conditions=(("nm", 1), ("bg", 1)), views=(0, 180))
    both = replace(plan, modalities=("silhouette", "parsing"))
    seen = set[int]()
    for condition, _, view, arrays in subject_walks(both, 0, model):
        silhouettes, parts = arrays["silhouette"], arrays["parsing"]
        assert parts.shape == silhouettes.shape
        assert parts.dtype == np.uint8
        assert not parts[silhouettes <= 127].any()
        assert condition == "bg" or (parts[silhouettes > 127] > 0).mean() > 0.98
        head, left, right = (parts == BODY_PARTS.index(name) + 1 for name in ("head", "left leg", "right leg"))
        assert head[:, :10].any(axis=(1, 2)).all()
        assert not head[:, 32:].any()
        if left.any() and right.any():  # facing the camera, the left leg is on the right of the picture
            assert (np.nonzero(left)[2].mean() > np.nonzero(right)[2].mean()) == (view == 0)
        seen |= set(np.unique(parts).tolist())
    assert seen <= set(range(len(BODY_PARTS) + 1))
    ((*_, alone), *_) = subject_walks(replace(both, modalities=("parsing",)), 0, model)
    assert list(alone) == ["parsing"]
    assert alone["parsing"].any(axis=(1, 2)).all()


@pytest.mark.parametrize("outfit", ["trousers", "skirt", "coat", "jacket"])
def test_parts_end_where_garments_end(model: BodyModel, outfit: str) -> None:
    """Every face has a part, and a bag has none; a top has no legs, and trousers have nothing else."""
    session = Person.sample(7).session(1)
    plain = replace(session.outfit(), coat=None, skirt=None, bag=None, hands=None, suit=None)
    worn = {
        "trousers": plain,
        "skirt": replace(plain, skirt=1.2),
        "coat": replace(plain, coat=plain.top, coat_length=1.2, coat_open=False, hood=True),
        "jacket": replace(plain, coat=plain.top, coat_length=0.2, coat_open=False, hood=False),
    }[outfit]
    figure = Dressed.make(model, session, worn).figure
    names = {BODY_PARTS[label - 1] for label in np.unique(figure.parts).tolist() if label}
    assert figure.parts.shape == (len(figure.faces),)
    assert (figure.parts > 0).all(), "nothing is carried"
    assert {"head", "torso", "left hand", "right foot"} <= names
    assert ("dress" in names) == (outfit in ("skirt", "coat"))
    middle = figure.vertices[figure.faces].mean(axis=1)
    for side, sign in (("left", 1), ("right", -1)):
        leg = figure.parts == BODY_PARTS.index(f"{side} leg") + 1
        assert (sign * middle[leg, 1] > -0.03).all()
    with_bag = Dressed.make(model, session, replace(worn, bag="backpack")).figure
    assert (with_bag.parts == 0).any()


SHELLS = {
    "trousers": (("helper-tights", -0.25, 2.0), {"left leg", "right leg"}),
    "shorts": (("helper-tights", -0.25, 0.45), {"left leg", "right leg"}),
    "top": (("helper-tights", -2.0, -0.1), {"torso", "left arm", "right arm"}),
    "belt": (("helper-tights", -0.1, 0.1), {"torso"}),
    "skirt": (("helper-skirt", -0.3, 0.9), {"dress"}),
    "overall": (("helper-tights", -2.0, 2.2), {"torso", "left arm", "right arm", "left leg", "right leg"}),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_of_a_suit_has_the_parts_of_such_a_garment(model: BodyModel, shell: str) -> None:
    """Whichever bones move them: trousers are legs from waist to hem, and no sleeve is a hand."""
    fit = Fitting(model, model.shape(BodyTraits.sample(np.random.default_rng(1))))
    (surface, start, end), expected = SHELLS[shell]
    mesh = fit.surface(surface).above(fit.level, start).below(fit.level, end)
    labels = np.unique(parts.of_suit(mesh, fit)).tolist()
    assert {BODY_PARTS[label - 1] for label in labels} == expected
    assert 0 not in labels


def test_cameras_anywhere_film_every_walk_from_drawn_places(model: BodyModel) -> None:
    plan = replace(PLAN, cameras=3, heights=(0.4, 5.0), distances=(3.5, 18.0), outfits=2, modalities=("silhouette",))
    walks = list(subject_walks(plan, 0, model))
    count = len(list(plan.walks))
    assert len(walks) == 3 * count
    views = {(condition, number): set[int]() for condition, number in plan.walks}
    for condition, number, view, arrays in walks:
        views[condition, number].add(view)
        assert arrays["silhouette"].shape == (plan.frames, 64, 64)
        assert arrays["silhouette"].any(axis=(1, 2)).all()
    assert all(len(seen) == 3 and seen <= set(range(360)) for seen in views.values())
    assert len(set().union(*views.values())) > 3


def test_look_alikes_share_stature_mass_sex_age_and_clothes(model: BodyModel) -> None:
    for seed in (3, 4):
        first = Person.sample(seed)
        group = [
            replace(first, dressed_as=seed),
            *(Person.sample(seed + 1000 + number).look_alike(first, model) for number in range(3)),
        ]
        assert np.ptp([person.body.stature for person in group]) <= 0.05
        assert np.ptp([model.shape(person.body).mass for person in group]) <= 6.5
        assert len({(person.body.gender, person.body.age) for person in group}) == 1
        assert len({person.gait.manner for person in group}) == 4, "they do not walk alike"
        assert len({person.body.local for person in group}) == 4
        assert len({person.outfit() for person in group}) == 1
        assert len({person.outfit(2) for person in group}) == 1
        assert len({person.session(1, "bg").outfit() for person in group}) == 1
        assert len({person.session(1, "bg").seed for person in group}) == 4
    near, same = (Person.sample(1003).look_alike(Person.sample(3), model, share) for share in (0.7, 1.0))
    assert same.body.local == pytest.approx(Person.sample(3).body.local)
    apart = np.array(near.body.local) - Person.sample(3).body.local
    assert apart == pytest.approx(0.3 * (np.array(Person.sample(1003).body.local) - Person.sample(3).body.local))
    assert near.gait.manner == same.gait.manner != Person.sample(3).gait.manner
    alone = Person.sample(3)
    assert alone.session(1, "bg").packing == alone.session(1, "bg").seed


def test_groups_of_look_alikes_are_in_a_data_set(model: BodyModel) -> None:
    plan = replace(PLAN, subjects=4, conditions=(("nm", 1),), views=(90,), alike=2)
    bodies = [next(walks_of(plan, index, model)).motion.dressed.shape.traits for index in range(4)]
    apart = [abs(one.stature - other.stature) for one, other in pairwise(bodies)]
    assert apart[0] < 0.03
    assert apart[2] < 0.03
    assert apart[1] > 0.03, "the groups differ"


def test_data_sets_of_before_were_in_motion_1(model: BodyModel, body_cache: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, subjects=1, conditions=(("nm", 1),), views=(90,), motion=1)
    write_dataset(tmp_path, plan, cache=body_cache)
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about.pop("motion") == 1
    del about["alike"]
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    write_dataset(tmp_path, plan, cache=body_cache)
    with pytest.raises(OutputError, match="with other settings"):
        write_dataset(tmp_path, replace(plan, motion=2), cache=body_cache)


@pytest.mark.parametrize(("wrong", "message"), [({"motion": 3}, "no motion 3"), ({"alike": 1}, "two people or more")])
def test_impossible_plans_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        replace(PLAN, **wrong)


def test_a_data_set_is_the_same_with_two_workers(dataset: Path, body_cache: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", PLAN, cache=body_cache, workers=2)
    assert files(tmp_path / "set") == files(dataset)


def test_a_stopped_run_goes_on_and_another_plan_is_refused(dataset: Path, body_cache: Path) -> None:
    import shutil

    before = files(dataset)
    shutil.rmtree(dataset / "data" / "00002")
    kept = (dataset / "data/00001/nm-01/000/0_silhouette.pkl").stat().st_mtime_ns
    write_dataset(dataset, PLAN, cache=body_cache)
    assert files(dataset) == before
    assert (dataset / "data/00001/nm-01/000/0_silhouette.pkl").stat().st_mtime_ns == kept
    with pytest.raises(OutputError, match="with other settings"):
        write_dataset(dataset, replace(PLAN, seed=10), cache=body_cache)
