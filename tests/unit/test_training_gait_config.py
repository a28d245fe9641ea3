"""OpenGait's YAML as a configuration: what its keys become, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

pytest.importorskip("lightning", reason="needs the extra [train]")

from app.errors import SettingsError
from app.gait.base import JointNetwork
from app.gait.models.gaitbase import GaitBase
from app.gait.models.gaitgl import GaitGL
from app.gait.models.gaitstrips import GaitStrips
from app.gait.models.mtsgait import MTSGait
from app.lab.training.gait.config import families, read_gait_config, read_shipped
from app.lab.training.gait.sampling import Sampling
from app.lab.training.gait.settings import GaitTrainSettings
from app.lab.training.gait.transforms import (
    Deform,
    PoorSegmentation,
    RandomErasing,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomRotate,
)

GAITBASE = """
data_cfg:
  dataset_name: CASIA-B
  dataset_root: data/casia-b
  dataset_partition: data/CASIA-B.json
  num_workers: 1
  remove_no_gallery: false
  test_dataset_name: CASIA-B
evaluator_cfg:
  enable_float16: true
  restore_ckpt_strict: true
  restore_hint: 60000
  save_name: GaitBase_DA
  sampler:
    batch_shuffle: false
    batch_size: 1
    sample_type: all_ordered
    frames_all_limit: 500
    type: InferenceSampler
  metric: cos
  transform:
    - type: BaseSilCuttingTransform
loss_cfg:
  - loss_term_weight: 1.0
    margin: 0.3
    type: TripletLoss
    log_prefix: triplet
  - loss_term_weight: 0.5
    scale: 8
    type: CrossEntropyLoss
    log_prefix: softmax
    log_accuracy: true
model_cfg:
  model: Baseline
  backbone_cfg:
    type: ResNet9
    block: BasicBlock
    in_channels: 1
    channels: [64, 128, 256, 512]
    layers: [1, 1, 1, 1]
    strides: [1, 2, 2, 1]
    maxpool: false
  SeparateFCs: {in_channels: 512, out_channels: 256, parts_num: 16}
  SeparateBNNecks: {class_num: 74, in_channels: 256, parts_num: 16}
  bin_num: [16]
optimizer_cfg: {lr: 1e-1, momentum: 0.9, solver: SGD, weight_decay: 0.0005}
scheduler_cfg: {gamma: 0.1, milestones: [20000, 40000, 50000], scheduler: MultiStepLR}
trainer_cfg:
  enable_float16: true
  fix_BN: false
  log_iter: 100
  restore_ckpt_strict: true
  restore_hint: 0
  save_iter: 20000
  save_name: GaitBase_DA
  sync_BN: true
  total_iter: 60000
  with_test: true
  sampler:
    batch_shuffle: true
    batch_size: [8, 16]
    frames_num_fixed: 30
    frames_num_max: 50
    frames_num_min: 25
    sample_type: fixed_unordered
    type: TripletSampler
  transform:
    - type: Compose
      trf_cfg:
        - {type: RandomPerspective, prob: 0.2}
        - {type: BaseSilCuttingTransform}
        - {type: RandomHorizontalFlip, prob: 0.3}
        - {type: RandomRotate, prob: 0.2, degree: 15}
    - {type: RandomErasing, prob: 0.1, per_frame: true}
"""


def read(tmp_path: Path, *assignments: str, **changes: Any) -> GaitTrainSettings:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(GAITBASE), **changes}), encoding="utf-8")
    return read_gait_config(path, assignments)


def test_the_published_yaml_of_gaitbase(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        settings = read(tmp_path)
    assert (settings.data, settings.partition) == (Path("data/casia-b"), Path("data/CASIA-B.json"))
    assert settings.protocol == "casia-b"
    assert settings.plan.network is GaitBase
    assert settings.plan.classes == 74
    with torch.device("meta"):
        network = settings.plan.build(74, classifier=True)
    assert isinstance(network, GaitBase)
    assert network.linear.weight.shape == (16, 512, 256)
    assert network.classifier is not None
    assert network.classifier.weight.shape == (16, 256, 74)
    triplet, softmax = settings.losses
    assert (triplet.kind, triplet.name, triplet.margin, triplet.weight) == ("TripletLoss", "triplet", 0.3, 1.0)
    assert (softmax.scale, softmax.weight, softmax.smoothing) == (8.0, 0.5, 0.1)
    sampling = settings.sampling
    assert (sampling.people, sampling.walks, sampling.fewest, sampling.most, sampling.order) == (
        8,
        16,
        30,
        30,
        "unordered",
    )
    assert settings.transforms == (
        RandomPerspective(prob=0.2),
        RandomHorizontalFlip(prob=0.3),
        RandomRotate(prob=0.2, degree=15.0),
        RandomErasing(prob=0.1, per_frame=True),
    )
    assert settings.optimizer.options == {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}
    assert settings.schedule is not None
    assert settings.schedule.options == {"gamma": 0.1, "milestones": [20000, 40000, 50000]}
    assert (settings.steps, settings.keep_every, settings.check_every, settings.test) == (60000, 20000, 20000, True)
    assert settings.precision in ("16-mixed", "bf16-mixed")
    assert (settings.metric, settings.most_frames) == ("cosine", 500)
    assert settings.out == Path("output/training/GaitBase_DA")
    assert "have no effect here" in caplog.text
    assert "trainer_cfg: these keys have no effect here: log_iter" in caplog.text


def test_what_is_kept_is_what_was_read(tmp_path: Path) -> None:
    settings = read(tmp_path, "trainer_cfg.total_iter=7", "out=elsewhere")
    assert (settings.steps, settings.out) == (7, Path("elsewhere"))
    (tmp_path / "kept.yaml").write_text(settings.text)
    assert read_gait_config(tmp_path / "kept.yaml") == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modell_cfg": {}}, r"config\.yaml: modell_cfg is unknown\. Did you mean 'model_cfg'\?"),
        (
            {"loss_cfg": [{"type": "TripletLos"}]},
            r"loss_cfg\[0\]\.type: 'TripletLos' is not known here.* 'TripletLoss'\?",
        ),
        ({"loss_cfg": [{"type": "TripletLoss", "margn": 1}]}, r"loss_cfg\[0\]\.margn is unknown\. Did you .*'margin'"),
        ({"model_cfg": {"model": "GaitSets"}}, r"model_cfg\.model: 'GaitSets' is not known here\. .*'GaitSet'"),
        ({"model_cfg": {"model": "GaitSet", "bins": [1], "bin_nu": [1]}}, r"bin_nu is unknown\. Did .*'bin_num'"),
        (
            {"model_cfg": {"model": "GaitSet", "bin_num": [4], "SeparateFCs": {"parts_num": 9}}},
            r"SeparateFCs\.parts_num: 9 parts do not go with the bins \[4\]",
        ),
        (
            {"model_cfg": {"model": "GaitSet", "input_size": [64, 64]}},
            r"input_size: data sets cannot be read as silhouettes of 64 rows and 64 columns",
        ),
        ({"optimizer_cfg": {"lr": 0.1, "momentun": 0.9}}, r"optimizer_cfg\.momentun: SGD .*'momentum'"),
        ({"optimizer_cfg": {"lr": 0.1, "solver": "Adm"}}, r"optimizer_cfg\.solver: 'Adm' is not known.*'Adam'"),
        (
            {"optimizer_cfg": {"lr": 0.1, "solver": "Optimizer"}},
            r"optimizer_cfg\.solver: .Optimizer. is not known here",
        ),
        ({"optimizer_cfg": {"solver": "Adam"}}, r"optimizer_cfg\.lr is missing"),
        ({"scheduler_cfg": {"scheduler": "MultiStepLR", "milestone": []}}, r"scheduler_cfg\.milestone: .*'milestones'"),
        ({"data_cfg": {"dataset_name": "x"}}, r"data_cfg\.dataset_root is missing"),
        ({"loss_cfg": []}, "loss_cfg has no loss"),
        ({"loss_cfg": {"type": "TripletLoss", "loss_term_weight": -1}}, "loss_term_weight: -1 cannot be used"),
        ({"loss_cfg": {"type": "SupConLoss_Re", "temperature": 0}}, "temperature: 0 cannot be used"),
        ({"loss_cfg": {"type": "CrossEntropyLoss", "eps": 2}}, "eps: 2 cannot be used"),
        ({"trainer_cfg": None}, r"trainer_cfg must hold keys with values, not None"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("trainer_cfg.sampler.sample_type=all_ordered", "whole walks have different lengths"),
        ("trainer_cfg.sampler.sample_type=fixed", r"'fixed' is not known here\. Did you mean 'fixed_"),
        ("trainer_cfg.sampler.batch_size=[8, 4, 2]", "batch_size: .* cannot be used"),
        ("trainer_cfg.total_iter=many", r"total_iter: 'many' cannot be used"),
        ("trainer_cfg.restore_hint=40000", "give the path of a checkpoint, or 0"),
        (
            "trainer_cfg.transform={type: RandomRotat}",
            r"transform\[0\]\.type: 'RandomRotat' is not known.*'RandomRotate'",
        ),
        ("trainer_cfg.transform={type: PointNoise}", "PointNoise is not for networks that take silhouettes"),
        ("trainer_cfg.transform={type: BaseSilCuttingTransform, cutting: 4}", "44 columns"),
        ("data_cfg.test_dataset_name=unheard-of", "with_test needs"),
        ("trainer_cfg.transform={type: RandomRotate, degree: -4}", "degree: -4 cannot be used"),
        ("trainer_cfg.transform={type: RandomErasing, prob: 30}", "prob: 30 cannot be used"),
        ("trainer_cfg.transform={type: RandomSelectSequence, sequence_length: x}", "sequence_length cannot be used"),
        ("optimizer_cfg.lr=fast", "lr: 'fast' is no number"),
        ("optimizer_cfg.lr=-0.1", "lr: -0.1 cannot be used"),
        ("optimizer_cfg.weight_decay=true", "weight_decay: True is no number"),
        ("optimizer_cfg.groups={names: [fc], lr: -1}", "lr: -1 cannot be used"),
        ("trainer_cfg.total_iter=0", "total_iter: 0 cannot be used"),
        ("evaluator_cfg.sampler.frames_all_limit=0", "frames_all_limit: 0 cannot be used"),
        ("data_cfg.num_workers=-1", "num_workers: -1 cannot be used"),
        ("data_cfg.num_workers=10000", "num_workers: 10000 cannot be used"),
        ("threads=-1", "threads: -1 cannot be used"),
        ("sed=3", r"run_cfg\.sed is unknown\. Did you mean 'seed'\?"),
        ("seed", "write it with an equals sign"),
    ],
)
def test_assignments_are_checked_alike(assignment: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, assignment)


def test_unfixed_frames_and_one_loss_alone(tmp_path: Path) -> None:
    settings = read(tmp_path, "trainer_cfg.sampler.sample_type=unfixed_ordered", loss_cfg={"type": "TripletLoss"})
    assert (settings.sampling.fewest, settings.sampling.most, settings.sampling.order) == (25, 50, "ordered")
    assert [term.kind for term in settings.losses] == ["TripletLoss"]


@pytest.mark.parametrize(
    ("model", "kind", "expected"),
    [
        ("{model: GaitSet, in_channels: [1, 4, 6, 8], bin_num: [2, 1], SeparateFCs: {in_channels: 8, out_channels: 5, "
         "parts_num: 6}}", "gaitset", {"widths": [4, 6, 8], "bins": [2, 1], "channels": 5}),
        ("{model: GaitPart, backbone_cfg: {in_channels: 1, type: Plain, layers_cfg: [BC-4, BC-4, M, FC-6-2, FC-6-2, M, "
         "FC-8-3, FC-8-3]}, SeparateFCs: {out_channels: 5, parts_num: 16}, bin_num: [16]}", "gaitpart",
         {"widths": [4, 6, 8], "strips": [1, 4, 8], "channels": 5, "parts": 16}),
        ("{model: GLN, in_channels: [1, 4, 6, 8], lateral_dim: 7, hidden_dim: 5, bin_num: [2, 1], dropout: 0.9}", "gln",
         {"widths": [4, 6, 8], "lateral": 7, "channels": 5, "bins": [2, 1], "dropout": 0.9}),
        ("{model: SMPLGait, backbone_cfg: {type: Plain, in_channels: 1, layers_cfg: [BC-16, BC-16, M, BC-32, BC-32, M, "
         "BC-64, BC-64]}, SeparateFCs: {in_channels: 64, out_channels: 32, parts_num: 3}, bin_num: [2, 1]}", "smplgait",
         {"widths": [16, 32, 64], "bins": [2, 1], "channels": 32}),
        ("{model: GaitGL, channels: [4, 6, 8], class_num: 9}", "gaitgl", {"widths": [4, 6, 8, 8], "channels": 128}),
        ("{model: GaitGL, channels: [4, 5, 6, 7]}", "gaitgl",
         {"widths": [4, 5, 6, 7], "depth": 2, "strips": 2, "neck": True, "channels": 7}),
        ("{model: GEINet, widths: [4, 6]}", "geinet", {"widths": [4, 6]}),
        ("{model: CSTL, hidden: 3}", "cstl", {"hidden": 3}),
        ("{model: DeepGaitV2, Backbone: {in_channels: 1, mode: 3d, layers: [1, 1, 1, 1], channels: [4, 4, 6, 8]}, "
         "SeparateBNNecks: {class_num: 9}, use_emb2: true}", "deepgaitv2",
         {"block": "3d", "widths": [4, 4, 6, 8], "depths": [1, 1, 1, 1], "use_emb2": True}),
        ("{model: DeepGaitV2, Backbone: {mode: 2d}}", "deepgaitv2-2d", {}),
        ("{model: DeepGaitV2, Backbone: {in_channels: 2, mode: p3d}}", "skeletongait", {"use_emb2": False}),
        ("{model: SkeletonGaitPP, Backbone: {in_channels: 3}}", "skeletongait++", {"use_emb2": False}),
        ("{model: MTSGait, backbone_cfg: {type: Plain, layers_cfg: [BC-16, BC-16, M, BC-32, BC-32, M]}}", "mtsgait",
         {"widths": [16, 32]}),
        ("{model: GaitGraph1, joint_format: coco, input_num: 3, block: Bottleneck, input_branch: [3, 64, 64, 32], "
         "main_stream: [32, 128, 128, 256, 256], num_class: 128, reduction: 8, tta: true}", "gaitgraph1",
         {"inputs": 3, "branch_widths": [64, 64, 32], "widths": [128, 128, 256, 256], "channels": 128, "reduction": 8}),
        ("{model: GaitGraph2, joint_format: coco, input_num: 3, input_branch: [5, 64, 32], "
         "main_stream: [32, 128, 256], num_class: 128}", "gaitgraph2",
         {"inputs": 5, "branches": 3, "branch_widths": [64, 32], "widths": [128, 256], "channels": 128}),
        ("{model: GaitTR, in_channels: [10, 64, 128], n_heads: 4}", "gaittr", {"widths": [64, 128], "heads": 4}),
    ],
)  # fmt: skip
def test_model_cfg_becomes_a_network(model: str, kind: str, expected: dict[str, Any], tmp_path: Path) -> None:
    settings = read(
        tmp_path, "trainer_cfg.transform=[]", model_cfg=yaml.safe_load(model), loss_cfg={"type": "TripletLoss"}
    )
    plan = settings.plan
    assert plan.network.family == kind
    assert {key: value for key, value in plan.arguments.items() if key != "input_size"} == expected
    with torch.device("meta"):
        plan.build(3, classifier=False)


def test_baselines_differ_in_their_backbones(tmp_path: Path) -> None:
    plain = {"type": "Plain", "layers_cfg": ["BC-16", "BC-16", "M", "BC-32", "BC-32", "M"]}
    plan = read(tmp_path, model_cfg={"model": "Baseline", "backbone_cfg": plain}).plan
    network = plan.build(3, classifier=True)
    assert isinstance(network, MTSGait)
    assert all(conv.hops == () for conv in network.convs)


def test_a_classifier_is_for_as_many_as_are_learnt(tmp_path: Path) -> None:
    plan = read(tmp_path).plan
    with pytest.raises(SettingsError, match="class_num is 74, and there are 75 people"):
        plan.build(75, classifier=True)
    without = read(tmp_path, model_cfg={"model": "GaitGL", "channels": [4, 4, 4]}).plan
    network = without.build(5, classifier=True)
    assert isinstance(network, GaitGL)
    assert network.logits is not None
    assert network.logits.weight.shape[2] == 5
    with pytest.raises(SettingsError, match="gaitset has no classifier"):
        read(tmp_path, model_cfg={"model": "GaitSet"}).plan.build(5, classifier=True)


@pytest.mark.parametrize("model", ["GaitGraph1", "GaitGraph2", "GaitTR"])
def test_missing_joints_are_centred_in_training_too(model: str, tmp_path: Path) -> None:
    for transforms, centred in (("[]", False), ("[{type: NoOperation}, {type: NormalizeEmpty}]", True)):
        settings = read(
            tmp_path,
            f"trainer_cfg.transform={transforms}",
            model_cfg={"model": model},
            loss_cfg={"type": "TripletLoss"},
        )
        with torch.device("meta"):
            network = settings.plan.build(3, classifier=False)
        assert isinstance(network, JointNetwork)
        assert network.centred == centred


def test_two_views_and_their_length_come_from_the_transforms(tmp_path: Path) -> None:
    inner = [{"type": "RandomSelectSequence", "sequence_length": 24}, {"type": "FlipSequence", "probability": 0.25}]
    settings = read(
        tmp_path,
        "trainer_cfg.sampler.sample_type=all_ordered",
        f"trainer_cfg.transform={yaml.safe_dump([{'type': 'TwoView', 'trf_cfg': inner}], default_flow_style=True)}",
        model_cfg={"model": "GaitGraph1"},
        loss_cfg={"type": "SupConLoss_Re", "temperature": 0.07},
    )
    assert settings.twice
    assert settings.sampling.fewest == settings.sampling.most == 24
    assert [transform.prob for transform in settings.transforms] == [0.25]
    assert settings.losses[0].temperature == 0.07


@pytest.mark.parametrize("name", families())
def test_the_configurations_of_the_table(name: str, tmp_path: Path) -> None:
    settings = read_shipped(name, [f"out={tmp_path / 'out'}", "trainer_cfg.total_iter=5"])
    assert (settings.steps, settings.out) == (5, tmp_path / "out")
    classifies = any(term.kind == "CrossEntropyLoss" for term in settings.losses)
    network = settings.plan.build(200, classifies)
    assert 10_000 < sum(value.numel() for value in network.parameters()) < 2_000_000


def test_both_phases_of_gln_are_there_and_no_rows_of_the_benchmark() -> None:
    first, second = (read_gait_config(Path(name)) for name in ("gln-phase1", "gln-phase2"))
    assert first.form == second.form == "silhouettes of 128 rows"
    assert second.start == first.checkpoint
    assert not second.strict
    assert not {"gln-phase1", "gln-phase2"} & set(families())


def test_families_are_found_as_tables_write_them() -> None:
    assert read_shipped("GaitSet") == read_shipped("gaitset")


def test_an_unknown_configuration_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no configuration 'gaitsett'.*Did you mean 'gaitset'"):
        read_gait_config(Path("gaitsett"))
    with pytest.raises(SettingsError, match=r"gaitsett\.yaml cannot be read"):
        read_gait_config(Path("gaitsett.yaml"))


def test_opengaits_files_and_ours_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(GAITBASE)
    (tmp_path / "ours.yaml").write_text("{steps: 3, out: a, batch: 2, rate: 0.1, triplet: 2.0}")
    assert read_gait_config(tmp_path / "theirs.yaml").plan.network is GaitBase
    ours = read_gait_config(tmp_path / "ours.yaml", ["steps=4", "frames=[3, 5]"])
    assert (ours.plan.network, ours.steps, ours.batch) == (GaitStrips, 4, 2)
    assert ours.sampling == Sampling(2, 4, 3, 5, "either")
    assert {term.name: term.weight for term in ours.losses} == {"parts": 1.0, "walks": 1.0, "triplet": 2.0}
    with pytest.raises(SettingsError, match="there is no setting 'trainer_cfg"):
        read_gait_config(tmp_path / "ours.yaml", ["trainer_cfg.total_iter=4"])


def test_our_network_and_augmentations_can_stand_in_opengaits_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        "data_cfg.filmed=data/filmed",
        "data_cfg.held_out=3",
        "trainer_cfg.transform=[{type: Deform}, {type: PoorSegmentation, prob: 0.6, strength: 0.4, ramp: 0.3}]",
        model_cfg={"model": "GaitStrips", "channels": 32},
        loss_cfg=[{"type": "SupConLoss_Re"}, {"type": "SupConLoss_Mean", "temperature": 0.03}],
    )
    assert (settings.plan.network, settings.checkpoint) == (GaitStrips, None)
    assert settings.transforms == (Deform(1.0), PoorSegmentation(0.6, 0.4, 0.3))
    assert (settings.filmed, settings.held_out) == (Path("data/filmed"), 3)


def test_losses_of_pairs_need_two_walks_of_a_person(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TripletLoss compares walks of one person"):
        read(tmp_path, "trainer_cfg.sampler.batch_size=[8, 1]")
    alone = read(tmp_path, "trainer_cfg.sampler.batch_size=[8, 1]", loss_cfg={"type": "CrossEntropyLoss"})
    assert alone.sampling.walks == 1
