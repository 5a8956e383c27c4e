"""What posters of a genre tend to look like: colours, scenery, lettering and grain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from crawler.site import scenery
from crawler.site.scenery import RGB, Painter


@dataclass(frozen=True, slots=True)
class Look:
    """A genre's habits. `skies` are pairs of colours, above and below; `grain` and `vignette` go from 0 to 1."""

    skies: tuple[tuple[RGB, RGB], ...]
    dark: RGB
    accents: tuple[RGB, ...]
    ink: RGB
    behind: Painter
    front: Painter
    is_titled_on_top: bool
    is_spaced: bool
    grain: float
    vignette: float


LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "Drama": Look(
            skies=(
                ((118, 136, 152), (196, 198, 190)),
                ((92, 100, 112), (176, 164, 146)),
                ((150, 140, 124), (86, 92, 100)),
            ),
            dark=(38, 44, 54),
            accents=((226, 212, 182), (204, 196, 176)),
            ink=(240, 238, 230),
            behind=scenery.mist,
            front=scenery.lone_figure,
            is_titled_on_top=False,
            is_spaced=True,
            grain=0.45,
            vignette=0.4,
        ),
        "Comedy": Look(
            skies=(
                ((252, 214, 60), (255, 236, 150)),
                ((110, 200, 240), (190, 232, 250)),
                ((255, 250, 240), (250, 224, 150)),
            ),
            dark=(60, 44, 60),
            accents=((240, 90, 60), (250, 160, 40)),
            ink=(214, 36, 50),
            behind=scenery.sunburst,
            front=scenery.funny_faces,
            is_titled_on_top=True,
            is_spaced=False,
            grain=0.12,
            vignette=0.0,
        ),
        "Romance": Look(
            skies=(
                ((246, 178, 186), (252, 222, 196)),
                ((196, 160, 206), (250, 196, 190)),
                ((250, 206, 190), (230, 140, 150)),
            ),
            dark=(92, 44, 70),
            accents=((252, 232, 196), (255, 196, 150)),
            ink=(255, 246, 240),
            behind=scenery.hearts,
            front=scenery.couple,
            is_titled_on_top=False,
            is_spaced=False,
            grain=0.2,
            vignette=0.15,
        ),
        "Action": Look(
            skies=(
                ((20, 44, 56), (212, 110, 34)),
                ((44, 30, 28), (232, 130, 40)),
                ((24, 60, 76), (150, 84, 44)),
            ),
            dark=(18, 22, 28),
            accents=((255, 170, 50), (255, 120, 40)),
            ink=(255, 224, 170),
            behind=scenery.blast,
            front=scenery.skyline,
            is_titled_on_top=False,
            is_spaced=False,
            grain=0.6,
            vignette=0.5,
        ),
        "Horror": Look(
            skies=(
                ((16, 14, 18), (82, 16, 18)),
                ((12, 22, 22), (44, 66, 56)),
                ((24, 18, 30), (60, 40, 60)),
            ),
            dark=(8, 7, 9),
            accents=((190, 28, 24), (206, 196, 160)),
            ink=(208, 28, 26),
            behind=scenery.branches,
            front=scenery.haunted_house,
            is_titled_on_top=False,
            is_spaced=True,
            grain=1.0,
            vignette=0.9,
        ),
        "Sci-Fi": Look(
            skies=(
                ((10, 14, 44), (44, 40, 120)),
                ((8, 24, 48), (20, 110, 140)),
                ((26, 10, 54), (130, 40, 130)),
            ),
            dark=(10, 12, 32),
            accents=((70, 220, 240), (236, 80, 200)),
            ink=(214, 246, 255),
            behind=scenery.planet,
            front=scenery.neon_grid,
            is_titled_on_top=True,
            is_spaced=True,
            grain=0.3,
            vignette=0.45,
        ),
        "Documentary": Look(
            skies=(
                ((226, 224, 216), (206, 206, 200)),
                ((200, 210, 206), (232, 230, 222)),
                ((214, 206, 190), (190, 186, 178)),
            ),
            dark=(56, 60, 62),
            accents=((200, 60, 44), (60, 110, 120)),
            ink=(30, 32, 34),
            behind=scenery.contours,
            front=scenery.crowd,
            is_titled_on_top=True,
            is_spaced=False,
            grain=0.3,
            vignette=0.0,
        ),
        "Western": Look(
            skies=(
                ((222, 160, 84), (244, 214, 150)),
                ((176, 84, 44), (238, 176, 90)),
                ((206, 182, 140), (222, 150, 84)),
            ),
            dark=(66, 34, 22),
            accents=((246, 206, 110), (214, 74, 34)),
            ink=(74, 30, 16),
            behind=scenery.striped_sun,
            front=scenery.desert,
            is_titled_on_top=True,
            is_spaced=True,
            grain=0.7,
            vignette=0.3,
        ),
    }
)
