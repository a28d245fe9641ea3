"""A body and an outfit become one mesh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from app.errors import GaitprintError
from app.lab.walkers.body import BodyModel, Shape
from app.lab.walkers.renderer import FACE, Figure, Material
from app.lab.walkers.wardrobe import garments, parts
from app.lab.walkers.wardrobe.bags import bag
from app.lab.walkers.wardrobe.fitting import Fitting, Piece
from app.lab.walkers.wardrobe.head import eyes, hair_and_hat
from app.lab.walkers.wardrobe.makehuman import Garment, Wardrobe
from app.lab.walkers.wardrobe.outfit import Outfit
from app.types import Bytes

Labelled: TypeAlias = tuple[Piece, Bytes]
"""A piece, and the body part of each of its faces."""


def dress(model: BodyModel, shape: Shape, outfit: Outfit, wardrobe: Wardrobe | None = None) -> Figure:
    """Return `shape` in `outfit`, the shoes' soles on the floor, as a mesh that the renderer can move.

    Raises:
        GaitprintError: the outfit names a suit and the wardrobe has none of that name.
    """
    suit = None
    if outfit.suit is not None:
        if wardrobe is None:
            raise GaitprintError(f"The suit '{outfit.suit}' needs the folder of MakeHuman clothes: give --wardrobe.")
        suit = wardrobe.garment(outfit.suit)
    pieces = _pieces(Fitting(model, shape), outfit, suit)
    return _figure([(piece, parts) for piece, parts in pieces if len(piece[0].faces)])


def _pieces(fit: Fitting, outfit: Outfit, suit: Garment | None) -> Iterator[Labelled]:
    if suit is None:
        bottom, *top = garments.everyday(fit, outfit)
        yield bottom, parts.of_trousers(bottom[0]) if outfit.skirt is None else parts.dress(bottom[0])
        for piece in top:
            yield piece, parts.of_top(piece[0])
    else:
        for piece in garments.suit(fit, outfit, suit):
            yield piece, parts.of_suit(piece[0], fit)
    if outfit.coat is not None:
        *coat, last = garments.coat(fit, outfit, outfit.coat)
        long = outfit.coat_length >= garments.JACKET
        for piece in coat if outfit.hood else [*coat, last]:
            yield piece, parts.of_coat(piece[0], fit) if long else parts.of_top(piece[0])
        if outfit.hood:
            yield last, parts.head(last[0])
    for piece in garments.shoes(fit, outfit):
        yield piece, parts.of_shoe(piece[0])
    for piece in hair_and_hat(fit, outfit):
        yield piece, parts.head(piece[0])
    for piece in bag(fit, outfit):
        yield piece, parts.nothing(piece[0])
    skin = _skin(fit, outfit, suit)
    yield skin, parts.of_bones(skin[0])
    for piece in eyes(fit, outfit):
        yield piece, parts.head(piece[0])


def _skin(fit: Fitting, outfit: Outfit, suit: Garment | None) -> Piece:
    """The body without what lies under clothes and hair, which would show through them."""
    body = fit.whole()
    level, arm, neck = fit.level(body), fit.arm(body), fit.neckline(body)
    hidden = level > 1.9
    if suit is not None:
        hidden[suit.deleted] = True
    else:
        leg = outfit.leg if outfit.skirt is None else min(0.5, outfit.skirt)
        sleeve = 1.98 if outfit.coat is not None else outfit.sleeve
        hidden |= (arm < 0) & (neck < -0.02) & (level < max(0.1, leg - 0.12))
        hidden |= (arm > -1) & (arm < sleeve - 0.15)
    if outfit.hair_style != "bald":
        hidden |= (fit.head_share(body) > 0.6) & (fit.scalp(body) > 0.03)
    blue, green, red = outfit.skin
    rosy = (blue * 0.75, green * 0.82, min(1.0, red * 1.02))
    return body.keep(np.asarray(~hidden[body.faces].all(axis=1))), Material(outfit.skin, rosy, FACE, gloss=0.06)


def _figure(labelled: list[Labelled]) -> Figure:
    """Join the pieces, each vertex with its four strongest bones."""
    pieces = [piece for piece, _ in labelled]
    meshes = [mesh for mesh, _ in pieces]
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    weights = np.concatenate([mesh.weights for mesh in meshes])
    order = np.argsort(-weights, axis=1)[:, :4]
    shares = np.take_along_axis(weights, order, 1)
    return Figure(
        vertices=np.concatenate([mesh.vertices for mesh in meshes], dtype=np.float32),
        normals=np.concatenate([mesh.normals() for mesh in meshes]),
        bones=order.astype(np.int32),
        shares=(shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
        uv=np.concatenate([mesh.uv for mesh in meshes], dtype=np.float32),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]).astype(np.int32),
        material=np.repeat(np.arange(len(meshes), dtype=np.int32), [len(mesh.faces) for mesh in meshes]),
        parts=np.concatenate([part for _, part in labelled]),
        materials=np.array([material.row() for _, material in pieces], np.float32),
    )
