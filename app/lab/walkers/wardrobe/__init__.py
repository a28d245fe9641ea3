"""Clothes, hair, shoes and bags, fitted to a body.

Everything is made from the body itself: hm08's helper meshes (tights, skirt, hair) are cut along smooth lines,
pushed out along their normals and smoothed. A folder of MakeHuman assets (``.mhclo`` with its ``.obj``, both of the
hm08 base mesh) adds suits where one is given.
"""

from app.lab.walkers.wardrobe.dressing import dress
from app.lab.walkers.wardrobe.makehuman import Wardrobe
from app.lab.walkers.wardrobe.outfit import Outfit

__all__ = ["Outfit", "Wardrobe", "dress"]
