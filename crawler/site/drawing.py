"""Drawn posters: a title's genres become colours, scenery and lettering, as imperfectly as on real posters."""

from __future__ import annotations

import io
import random
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crawler.site.looks import LOOKS, Look
from crawler.site.scenery import HEIGHT_PX, RGB, WIDTH_PX, Brush, mix
from crawler.titles import Title

# Some posters sell a film as another genre; without these a small network would soon be perfect.
MISLED_SHARE = 0.18

_SIZE_PX = (WIDTH_PX // 2, HEIGHT_PX // 2)
_MARGIN_PX = 16
_TITLE_TOP_PX, _TITLE_GROUND_PX = 26, 342
_CREDITS = "a film by {} {}   with {} {}   {} {}   music by {} {}   written by {} {}"
_FIRST_NAMES = (
    "Alva", "Bea", "Cyril", "Dana", "Edda", "Finn", "Greta", "Hugo",
    "Iris", "Joss", "Kit", "Lou", "Mira", "Noel", "Orla", "Pim",
)  # fmt: skip
_LAST_NAMES = (
    "Abel", "Brandt", "Castell", "Dorn", "Ekholm", "Ferrow", "Grey",
    "Holm", "Ibsley", "Jarvi", "Kessel", "Lund", "Moran", "Nyberg",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Style:
    """What the looks of one poster agreed on: the scenery behind from one genre, in front from another."""

    behind: Look
    front: Look
    lettering: Look
    sky: tuple[RGB, RGB]
    dark: RGB
    accent: RGB


def draw_poster(title: Title, revision: int = 0) -> bytes:
    """A JPEG of 300x444 pixels, about 15 to 40 KB; the same bytes for the same title and revision."""
    rng = random.Random(f"{title.imdb_id} {title.title}" + (f" {revision}" if revision else ""))  # noqa: S311  art, not secrets
    style = _agree(_seen_genres(title.genres, rng), rng)
    poster = _scene(style, rng)
    _letter_title(poster, (title.title or title.imdb_id).strip(), style.lettering)
    _letter_credits(poster, rng)
    poster = _develop(poster, style, rng)
    encoded = io.BytesIO()
    poster.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


def _seen_genres(genres: tuple[str, ...], rng: random.Random) -> list[str]:
    """The genres that the poster shows, the main one first: not always those that the film has."""
    seen = [genre for genre in genres if genre in LOOKS] or ["Drama"]
    rng.shuffle(seen)
    if rng.random() < MISLED_SHARE:
        seen[0] = rng.choice([genre for genre in LOOKS if genre not in seen])
    return seen


def _agree(seen: list[str], rng: random.Random) -> _Style:
    looks = [LOOKS[genre] for genre in seen]
    main, other = looks[0], looks[-1]
    first, second = rng.choice(main.skies), rng.choice(other.skies)
    share = rng.uniform(0.2, 0.5)
    return _Style(
        behind=other,
        front=main,
        lettering=rng.choice(looks),
        sky=(_jitter(mix(first[0], second[0], share), rng), _jitter(mix(first[1], second[1], share), rng)),
        dark=mix(main.dark, other.dark, share),
        accent=_jitter(mix(rng.choice(main.accents), rng.choice(other.accents), share), rng),
    )


def _jitter(colour: RGB, rng: random.Random) -> RGB:
    red, green, blue = (min(255, max(0, channel + rng.randint(-22, 22))) for channel in colour)
    return red, green, blue


def _scene(style: _Style, rng: random.Random) -> Image.Image:
    above, below = style.sky
    strip = np.linspace(above, below, HEIGHT_PX).astype(np.uint8)[:, None, :]
    canvas = Image.fromarray(np.ascontiguousarray(np.broadcast_to(strip, (HEIGHT_PX, WIDTH_PX, 3))))
    middle = mix(above, below, 0.5)
    brush = Brush(ImageDraw.Draw(canvas), rng, sky=middle, dark=style.dark, accent=style.accent)
    style.behind.behind(brush)
    style.front.front(brush)
    return canvas.reduce(2)


def _letter_title(poster: Image.Image, name: str, look: Look) -> None:
    lines = _wrapped(_plain(name).upper(), 11 if look.is_spaced else 12)
    if look.is_spaced:
        lines = [" ".join(line) for line in lines]
    widest = max(_font(40).getlength(line) for line in lines)
    room = poster.width - 2 * _MARGIN_PX
    size = int(min(40 * room / widest, 52, 76 / len(lines)))
    top = _TITLE_TOP_PX if look.is_titled_on_top else _TITLE_GROUND_PX
    draw = ImageDraw.Draw(poster)
    ink, shade = _legible(look.ink, poster.crop((0, top, poster.width, top + 80)))
    for number, line in enumerate(lines):
        place = (poster.width / 2, top + size * 0.5 + number * size * 1.02)
        stroke = 0 if look.is_spaced else max(1, size // 16)
        draw.text((place[0] + 2, place[1] + 2), line, shade, _font(size), anchor="mm", stroke_width=stroke)
        draw.text(place, line, ink, _font(size), anchor="mm", stroke_width=stroke)


def _letter_credits(poster: Image.Image, rng: random.Random) -> None:
    names = [name for _ in range(5) for name in (rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES))]
    words = _CREDITS.format(*names).upper().split("   ")
    draw = ImageDraw.Draw(poster)
    ink, _ = _legible((200, 200, 196), poster.crop((0, 425, poster.width, 442)))
    draw.text((poster.width / 2, 428), "   ".join(words[:3]), ink, _font(8), anchor="mm")
    draw.text((poster.width / 2, 437), "   ".join(words[3:]), ink, _font(8), anchor="mm")
    stars = f"{names[2]} {names[3]}      {names[4]} {names[5]}".upper()
    ink, _ = _legible((244, 240, 230), poster.crop((0, 6, poster.width, 20)))
    draw.text((poster.width / 2, 13), stars, ink, _font(10), anchor="mm")


def _legible(ink: RGB, ground: Image.Image) -> tuple[RGB, RGB]:
    """The ink, or near white or black where it would drown; and the colour of its shadow."""
    brightness = float(np.asarray(ground.convert("L")).mean())
    own = 0.3 * ink[0] + 0.59 * ink[1] + 0.11 * ink[2]
    if abs(own - brightness) < 64:
        ink = (250, 246, 238) if brightness < 135 else (24, 22, 24)
        own = ink[0]
    return ink, (20, 18, 20) if own > brightness else (250, 246, 238)


def _develop(poster: Image.Image, style: _Style, rng: random.Random) -> Image.Image:
    """Darken the corners and add film grain."""
    width, height = _SIZE_PX
    left, top = rng.randrange(512 - width), rng.randrange(512 - height)
    strength = 9 * (style.front.grain + style.behind.grain) / 2
    vignette = (style.front.vignette + style.behind.vignette) / 2
    pixels = np.asarray(poster, dtype=np.float32) * (1 - vignette * _corners())
    pixels += strength * _grain()[top : top + height, left : left + width]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)


@cache
def _grain() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(512, 512, 1)).astype(np.float32)


@cache
def _corners() -> np.ndarray:
    """0 in the middle of the poster, 0.8 in its corners, as float32 of height x width x 1."""
    width, height = _SIZE_PX
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (0.4 * (x**2 + y**2) ** 1.2).clip(0, 0.8).astype(np.float32)[..., None]


def _plain(text: str) -> str:
    """Without accents: Pillow's own font has none."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "Untitled"


def _wrapped(text: str, columns: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [text]
