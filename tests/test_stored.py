"""Avatars on the disk: small, in order of importance, and anything damaged is named with what to do."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.cli.show import Export
from avatar.errors import BadInput, FormatMismatch
from avatar.evaluation.metrics import psnr
from avatar.export.splats import read_ply
from avatar.files import load_tensors, save_tensors
from avatar.fitting.config import FitConfig
from avatar.info import describe
from avatar.layers import Layers
from avatar.model import Avatar, load
from avatar.playback import Player, load_player
from avatar.stored import LAYERS_FILE, first_of, head_among_first, in_floats, pack_layers, unpack_layers
from cuda_ext.packed import PackedMap


@pytest.fixture(scope="module")
def small(tiny_avatar, tmp_path_factory) -> Avatar:
    """The tiny avatar in int8."""
    return saved(tiny_avatar, tmp_path_factory.mktemp("stored"), "int8")


def saved(avatar: Avatar, folder: Path, precision) -> Avatar:
    avatar.save(folder, precision)
    return load(folder)


def as_seen(avatar: Avatar, indices=(0, 30, 60, 85)) -> torch.Tensor:
    pictures = [avatar.frame(avatar.own, i, avatar.camera) for i in indices]
    return torch.from_numpy(np.concatenate(pictures)).float() / 255


@pytest.mark.parametrize(("precision", "least"), [("half", 60), ("int8", 50)])
def test_packed_avatars_look_the_same(tiny_avatar, tmp_path, precision, least):
    packed = saved(tiny_avatar, tmp_path, precision)
    assert psnr(as_seen(packed), as_seen(tiny_avatar)) > least
    again = saved(packed, tmp_path, precision)
    assert psnr(as_seen(again), as_seen(packed)) > least


def test_only_axes_that_have_a_say_are_kept(tiny_avatar, tmp_path):
    head, hangs = tiny_avatar.layers.head, torch.arange(len(tiny_avatar.layers.head.hang)) % 7 == 0
    axes = torch.linalg.qr(torch.randn(len(hangs), 3, 3, generator=torch.Generator().manual_seed(0)))[0]
    layers = replace(tiny_avatar.layers, head=replace(head, hang=0.5 * hangs, hang_axes=axes))
    avatar = saved(replace(tiny_avatar, layers=layers), tmp_path, "float32")
    for name, tensor in layers.tensors().items():
        rows = hangs if name == "head.hang_axes" else slice(None)
        assert torch.equal(avatar.layers.tensors()[name][rows], tensor[rows]), name
    assert len(load_tensors(tmp_path / LAYERS_FILE, "it")[0]["head.hang_axes"]) == hangs.sum()


def test_fifty_thousand_gaussians_take_less_than_ten_megabytes(tiny_avatar, tmp_path):
    """In the default shares, with the default number of features, whatever their values are."""
    config, rng = FitConfig(), np.random.default_rng(0)
    of_head = config.head_gaussians + config.core_gaussians + config.hair_gaussians
    head, torso = tiny_avatar.layers.arrays()
    n = round(50_000 * of_head / (of_head + config.torso_gaussians))
    k = config.expression_rank + 6
    rows, torso_rows = rng.integers(0, len(head.means), n), rng.integers(0, len(torso.means), 50_000 - n)
    head = type(head)(*(None if a is None else a[rows] for a in head))
    head = head._replace(
        map_means=rng.normal(size=(n, 3, k)).astype(np.float32),
        map_opacities=rng.normal(size=(n, k)).astype(np.float32),
        hang=(np.arange(n) < n * config.hair_gaussians / of_head).astype(np.float32),
    )
    layers = Layers.from_arrays(head, type(torso)(*(a[torso_rows] for a in torso)))
    replace(tiny_avatar, layers=layers).save(tmp_path, "int8")
    assert (tmp_path / LAYERS_FILE).stat().st_size < 10e6


def map_of(player: Player) -> PackedMap:
    packed = player._packed and player._packed._of_head[0][0]
    assert packed
    return packed


def test_playback_takes_the_packed_maps_as_they_are(small, tiny_avatar):
    floats, packed = load_player(small.path), load_player(small.path, "int8")
    tensors, _ = load_tensors(small.path / LAYERS_FILE, "it")
    np.testing.assert_array_equal(map_of(packed).data, tensors["head.map_means"].numpy())
    driven = floats.prepare(floats.own_motion)
    for index in (3, 50):
        a, b = floats.frame(driven, index), packed.frame(driven, index)
        assert np.mean(np.abs(a.astype(int) - b) > 1) < 1e-4
        np.testing.assert_array_equal(a, small.frame(small.own, index, small.camera))
    assert map_of(load_player(small.path, "half")).storage == "half"  # packed anew


def test_the_first_gaussians_look_better_than_any(tiny_avatar):
    """In two frames of the held-out end, seen from the front."""
    frames, full = (80, 88), len(tiny_avatar.layers.head.means) + len(tiny_avatar.layers.torso.means)
    truth, count = as_seen(tiny_avatar, frames), full * 2 // 5
    first = load(tiny_avatar.path, gaussians=count)
    layers = tiny_avatar.layers
    shares = [len(first.layers.head.means), len(first.layers.torso.means)]
    assert sum(shares) == count
    generator = torch.Generator().manual_seed(0)
    chosen = (torch.randperm(len(part.means), generator=generator) for part in (layers.head, layers.torso))
    by_chance = replace(tiny_avatar, layers=layers.picked(*(c[:n] for c, n in zip(chosen, shares, strict=True))))
    assert psnr(as_seen(first, frames), truth) > psnr(as_seen(by_chance, frames), truth) + 3


def test_fewer_gaussians_everywhere(small, tmp_path):
    """The loader, the player with packed maps and the exporter agree on which come first."""
    avatar, player = load(small.path, gaussians=1001), load_player(small.path, "int8", gaussians=1001)
    picture = player.frame(player.prepare(player.own_motion), 7)
    assert np.mean(np.abs(picture.astype(int) - avatar.frame(avatar.own, 7, avatar.camera)) > 1) < 1e-3
    Export(avatar=small.path, output=tmp_path / "few.ply", splats=True, gaussians=1001, quiet=True).run()
    assert len(read_ply(tmp_path / "few.ply")) == 1001
    assert len(load(small.path, gaussians=10**9).layers.head.means) == len(small.layers.head.means)
    assert len(load(small.path, gaussians=1).layers.head.means) == 1
    with pytest.raises(BadInput, match="an avatar needs Gaussians"):
        load(small.path, gaussians=0)
    with pytest.raises(ValueError, match="not baked has all of them"):
        load(small.path, exact=True, gaussians=5)


def test_the_first_of_a_packed_map_are_its_rows(tiny_avatar):
    head, torso = tiny_avatar.layers.arrays()
    arrays = pack_layers(head, torso, "int8")
    whole, _ = layers = unpack_layers(arrays)
    few, _ = first_of(*layers, 333, [])
    assert isinstance(few.map_means, PackedMap)
    np.testing.assert_array_equal(in_floats(few).map_means, in_floats(whole).map_means[: len(few.means)])


def test_head_and_torso_share_by_importance(tiny_avatar):
    """The table says how many of the first Gaussians are the head's, between its steps too."""
    head, torso = tiny_avatar.layers.arrays()
    rng = np.random.default_rng(0)
    weights = [np.sort(rng.random(len(part.means)) * size)[::-1] for part, size in ((head, 1.0), (torso, 0.5))]
    table = head_among_first(*weights)
    for count in (5, 777, 2000, len(head.means) + len(torso.means) - 3):
        least = np.sort(np.concatenate(weights))[-count]
        few = first_of(head, torso, count, table)
        assert len(few[0].means) + len(few[1].means) == count
        assert len(few[0].means) == pytest.approx((weights[0] >= least).sum(), abs=0.01 * len(head.means))
    assert tiny_avatar.info["storage"]["head_among_first"][-1] == len(head.means)


def test_what_storing_lost_is_said(tiny_avatar):
    facts = describe(tiny_avatar.path)
    assert facts["storage"]["precision"] == "float32"
    assert facts["storage"]["float32_psnr"] == facts["storage"]["stored_psnr"]
    assert facts["mb"] == round((tiny_avatar.path / LAYERS_FILE).stat().st_size / 1e6, 2)


def nan(tensors):
    tensors["head.colors"][5, 1] = torch.nan


def cut(tensors):
    tensors["head.map_means"] = tensors["head.map_means"][1:].clone()


def bare(tensors):
    del tensors["head.map_means_scales"]


def beyond(tensors):
    tensors["head.triangles"][3] = 10**6


def lacking(tensors):
    del tensors["torso.quats"]


def foreign(tensors):
    tensors["driving.low"] = tensors["driving.low"][:-1].clone()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nan, "head.colors with a NaN"), (cut, "data: expected shape"), (bare, "head.map_means of shape"),
        (beyond, "head.triangles with num"), (lacking, "no array 'torso.quats'"), (foreign, "head.map_means of shape"),
    ],
)  # fmt: skip
def test_damaged_layers_are_named(small, tmp_path, damage, said):
    shutil.copytree(small.path, tmp_path / "a")
    file = tmp_path / "a" / LAYERS_FILE
    tensors, _ = load_tensors(file, "it")
    damage(tensors)
    save_tensors(file, tensors)
    for read in (load, load_player):
        with pytest.raises(FormatMismatch, match=rf"(?s)is damaged.*{said}.*visavis fit CAPTURE -o .*a --overwrite"):
            read(tmp_path / "a")


@pytest.mark.parametrize(
    ("schema", "said"), [(2, "next: fit it again"), (99, "next: update visavis"), ("x", "next: fit")]
)
def test_other_schemas_are_named_with_the_next_command(small, tmp_path, schema, said):
    content = json.loads((small.path / "avatar.json").read_text())
    (tmp_path / "avatar.json").write_text(json.dumps(content | {"schema": f"visavis.avatar/{schema}"}))
    for read in (load, load_player, describe):
        with pytest.raises(FormatMismatch, match=rf"(?s)another schema.*{said}.*visavis fit CAPTURE"):
            read(tmp_path)
