"""Scenery for drawn posters: for each genre something behind (suns, stars) and in front (people, houses)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import ImageDraw

RGB = tuple[int, int, int]

# Scenery is painted at twice the poster's size and halved, which smooths Pillow's hard edges.
WIDTH_PX, HEIGHT_PX = 600, 888
GROUND_PX = 640


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`share` of the second colour in the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Brush:
    """A canvas and the colours that the poster's looks agreed on."""

    draw: ImageDraw.ImageDraw
    rng: Random
    sky: RGB
    dark: RGB
    accent: RGB

    def disc(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """A filled circle around (x, y)."""
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def ground(self, roughness: float, colour: RGB | None = None, top: float = GROUND_PX) -> None:
        """Land from about `top` down to the lower edge."""
        steps = range(0, WIDTH_PX + 60, 60)
        ridge = [(float(x), top + self.rng.uniform(-roughness, roughness)) for x in steps]
        self.draw.polygon([(0, HEIGHT_PX), *ridge, (WIDTH_PX, HEIGHT_PX)], fill=colour or self.dark)

    def person(self, x: float, foot: float, height: float, colour: RGB, *, is_hatted: bool = False) -> None:
        """A standing silhouette."""
        head = height * 0.085
        shoulder, hip = foot - height * 0.8, foot - height * 0.46
        wide = height * 0.14
        self.disc(x, foot - height + head, head, colour)
        torso = [(x - wide, shoulder + 6), (x - wide * 0.5, shoulder - 4), (x + wide * 0.5, shoulder - 4)]
        torso += [(x + wide, shoulder + 6), (x + wide * 0.75, hip), (x - wide * 0.75, hip)]
        self.draw.polygon(torso, fill=colour)
        for side in (-1, 1):
            leg = [(x, hip - 8), (x + side * wide * 0.8, hip - 8)]
            leg += [(x + side * wide * 0.95, foot), (x + side * wide * 0.3, foot)]
            self.draw.polygon(leg, fill=colour)
            arm = [(x + side * wide * 0.9, shoulder + 4), (x + side * wide * 1.35, hip + 6)]
            self.draw.line(arm, fill=colour, width=max(4, int(height * 0.045)))
        if is_hatted:
            brim = foot - height + head * 0.6
            self.draw.ellipse((x - head * 2.3, brim - head * 0.4, x + head * 2.3, brim + head * 0.4), fill=colour)
            self.draw.rectangle((x - head, brim - head * 1.3, x + head, brim), fill=colour)


def mist(b: Brush) -> None:
    """Drama: a pale, low sun behind bands of mist."""
    b.disc(b.rng.randint(160, 440), b.rng.randint(280, 420), b.rng.randint(70, 130), mix(b.sky, b.accent, 0.45))
    for _ in range(9):
        y, x = b.rng.randint(200, 620), b.rng.randint(-200, 400)
        box = (x, y, x + b.rng.randint(240, 520), y + b.rng.randint(5, 16))
        b.draw.rounded_rectangle(box, radius=8, fill=mix(b.sky, (235, 235, 235), b.rng.uniform(0.1, 0.3)))


def sunburst(b: Brush) -> None:
    """Comedy: rays and confetti."""
    x, y = b.rng.randint(220, 380), b.rng.randint(380, 520)
    rays = b.rng.choice((18, 24, 30))
    for ray in range(0, rays, 2):
        angles = (math.tau * ray / rays, math.tau * (ray + 1) / rays)
        points = [(x + 1000 * math.cos(a), y + 1000 * math.sin(a)) for a in angles]
        b.draw.polygon([(x, y), *points], fill=mix(b.sky, (255, 255, 255), 0.35))
    for _ in range(40):
        colour = b.rng.choice(((238, 70, 70), (40, 150, 220), (60, 180, 90), b.accent))
        b.disc(b.rng.randint(0, WIDTH_PX), b.rng.randint(0, 600), b.rng.randint(4, 12), colour)


def hearts(b: Brush) -> None:
    """Romance: one large sun and hearts that rise."""
    b.disc(300, b.rng.randint(400, 500), b.rng.randint(180, 240), mix(b.sky, b.accent, 0.5))
    for _ in range(12):
        x, y, r = b.rng.randint(20, 580), b.rng.randint(170, 600), b.rng.randint(7, 20)
        colour = mix(b.accent, (225, 40, 90), b.rng.uniform(0.4, 0.9))
        b.disc(x - r * 0.9, y, r, colour)
        b.disc(x + r * 0.9, y, r, colour)
        b.draw.polygon([(x - r * 1.75, y + r * 0.5), (x + r * 1.75, y + r * 0.5), (x, y + r * 2.5)], fill=colour)


def blast(b: Brush) -> None:
    """Action: an explosion and the shards it throws."""
    x, y = b.rng.randint(180, 420), b.rng.randint(380, 500)
    for radius, share in ((330, 0.35), (230, 0.7), (130, 1.0)):
        spikes = []
        for spike in range(44):
            reach = radius * (b.rng.uniform(0.85, 1.35) if spike % 2 else 0.55)
            angle = math.tau * spike / 44
            spikes.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        b.draw.polygon(spikes, fill=mix(b.sky, mix(b.accent, (255, 240, 170), max(0, share - 0.6)), share))
    for _ in range(26):
        angle, reach = b.rng.uniform(0, math.tau), b.rng.uniform(180, 520)
        sx, sy, size = x + reach * math.cos(angle), y + reach * math.sin(angle), b.rng.uniform(6, 26)
        b.draw.polygon([(sx, sy), (sx + size, sy - size * 0.4), (sx + size * 0.5, sy + size)], fill=b.dark)


def branches(b: Brush) -> None:
    """Horror: a moon behind bare branches."""
    x, y, r = b.rng.randint(150, 450), b.rng.randint(260, 380), b.rng.randint(80, 120)
    b.disc(x, y, r * 1.25, mix(b.sky, b.accent, 0.25))
    b.disc(x, y, r, mix(b.accent, (235, 225, 205), 0.35))
    for side in (0, WIDTH_PX):
        for _ in range(2):
            _branch(b, (float(side), float(b.rng.randint(150, 560))), math.pi if side else 0.0, 170, 13)


def _branch(b: Brush, start: tuple[float, float], angle: float, length: float, width: int) -> None:
    if width < 2:
        return
    end = (start[0] + length * math.cos(angle), start[1] + length * math.sin(angle))
    b.draw.line((start, end), fill=b.dark, width=width)
    for turn in (-b.rng.uniform(0.2, 0.8), b.rng.uniform(0.2, 0.8)):
        _branch(b, end, angle + turn, length * 0.7, int(width * 0.6))


def planet(b: Brush) -> None:
    """Sci-Fi: stars and a ringed planet."""
    for _ in range(110):
        shine = mix(b.sky, (255, 255, 255), b.rng.uniform(0.3, 1))
        b.disc(b.rng.randint(0, WIDTH_PX), b.rng.randint(0, 640), b.rng.choice((1, 1, 2, 3)), shine)
    x, y, r = b.rng.randint(170, 430), b.rng.randint(280, 400), b.rng.randint(90, 150)
    b.disc(x, y, r, mix(b.sky, b.accent, 0.85))
    b.disc(x + r * 0.22, y + r * 0.12, r * 0.86, mix(b.sky, b.accent, 0.5))
    ring = (x - r * 1.7, y - r * 0.35, x + r * 1.7, y + r * 0.35)
    b.draw.arc(ring, -20, 200, fill=mix(b.accent, (255, 255, 255), 0.5), width=9)


def contours(b: Brush) -> None:
    """Documentary: the height lines of a map, and a framed block as of a photograph."""
    x, y = b.rng.randint(100, 500), b.rng.randint(200, 500)
    for ring in range(14, 0, -1):
        rx, ry = ring * b.rng.uniform(34, 42), ring * b.rng.uniform(24, 30)
        b.draw.ellipse((x - rx, y - ry, x + rx, y + ry), outline=mix(b.sky, b.dark, 0.3), width=3)
    left = b.rng.randint(70, 130)
    b.draw.rectangle((left, 230, WIDTH_PX - left, 600), fill=mix(b.sky, b.dark, 0.45))
    b.draw.rectangle((left, 230, WIDTH_PX - left, 600), outline=mix(b.sky, (255, 255, 255), 0.8), width=10)


def striped_sun(b: Brush) -> None:
    """Western: a huge setting sun in stripes."""
    x, y, r = b.rng.randint(200, 400), b.rng.randint(440, 540), b.rng.randint(170, 230)
    b.disc(x, y, r, b.accent)
    for stripe in range(6):
        top = y - r * 0.3 + stripe * r * 0.22
        b.draw.rectangle((x - r - 2, top, x + r + 2, top + 4 + stripe * 4), fill=b.sky)
    for _ in range(4):
        bx, by = b.rng.randint(60, 540), b.rng.randint(200, 340)
        b.draw.line((bx - 18, by - 8, bx, by, bx + 18, by - 8), fill=b.dark, width=4)


def lone_figure(b: Brush) -> None:
    """Drama: somebody alone on a hill, or looking out over water."""
    b.ground(10, mix(b.dark, b.sky, 0.35), GROUND_PX - 40)
    b.ground(18)
    b.person(b.rng.randint(150, 450), GROUND_PX + 12, b.rng.randint(150, 330), b.dark)


def funny_faces(b: Brush) -> None:
    """Comedy: round heads with large eyes."""
    b.ground(0, mix(b.dark, b.accent, 0.7), GROUND_PX - 10)
    skins = ((250, 205, 165), (220, 160, 115), (150, 100, 70))
    count = b.rng.choice((2, 3))
    for number in range(count):
        x = WIDTH_PX * (number + 0.5) / count + b.rng.randint(-20, 20)
        r = b.rng.randint(72, 100)
        y = GROUND_PX - r - b.rng.randint(0, 90)
        shirt = b.rng.choice(((230, 60, 70), (40, 130, 210), (60, 170, 100), (250, 250, 250)))
        b.draw.rounded_rectangle((x - r * 0.9, y + r * 0.7, x + r * 0.9, GROUND_PX + 20), radius=40, fill=shirt)
        b.draw.pieslice((x - r * 1.06, y - r * 1.12, x + r * 1.06, y + r), 180, 360, fill=b.dark)
        b.disc(x, y + r * 0.06, r * 0.94, b.rng.choice(skins))
        for side in (-1, 1):
            b.disc(x + side * r * 0.36, y - r * 0.1, r * 0.27, (255, 255, 255))
            b.disc(x + side * r * 0.3 + 4, y - r * 0.08, r * 0.11, (25, 25, 30))
        b.draw.chord((x - r * 0.5, y + r * 0.05, x + r * 0.5, y + r * 0.7), 0, 180, fill=(150, 30, 40))


def couple(b: Brush) -> None:
    """Romance: two people close together."""
    b.ground(14)
    x, tall = b.rng.randint(250, 350), b.rng.randint(290, 370)
    b.person(x - tall * 0.12, GROUND_PX + 14, tall, b.dark)
    b.person(x + tall * 0.12, GROUND_PX + 14, tall * 0.9, mix(b.dark, (160, 40, 80), 0.45))


def skyline(b: Brush) -> None:
    """Action: a hero before a city."""
    x = 0
    while x < WIDTH_PX:
        wide, tall = b.rng.randint(40, 90), b.rng.randint(60, 260)
        b.draw.rectangle((x, GROUND_PX - tall, x + wide, GROUND_PX + 40), fill=mix(b.dark, b.sky, 0.25))
        for wy in range(GROUND_PX - tall + 12, GROUND_PX - 10, 26):
            if b.rng.random() < 0.5:
                b.draw.rectangle((x + 10, wy, x + wide - 14, wy + 6), fill=mix(b.dark, b.accent, 0.6))
        x += wide + 4
    b.ground(4)
    b.person(b.rng.randint(230, 370), GROUND_PX + 14, b.rng.randint(340, 430), mix(b.dark, (0, 0, 0), 0.5))


def haunted_house(b: Brush) -> None:
    """Horror: a house with one lit window, and graves."""
    b.ground(16)
    x, y = b.rng.randint(200, 400), GROUND_PX - 4
    b.draw.rectangle((x - 85, y - 170, x + 85, y + 10), fill=b.dark)
    b.draw.polygon([(x - 110, y - 165), (x, y - 285), (x + 110, y - 165)], fill=b.dark)
    b.draw.polygon([(x + 40, y - 200), (x + 68, y - 350), (x + 96, y - 200)], fill=b.dark)
    b.draw.rectangle((x - 22, y - 150, x + 16, y - 95), fill=mix(b.accent, (255, 210, 90), 0.6))
    for _ in range(6):
        gx = b.rng.randint(20, 580)
        b.draw.rounded_rectangle((gx - 16, y - 40, gx + 16, y + 40), radius=16, fill=mix(b.dark, b.sky, 0.35))


def neon_grid(b: Brush) -> None:
    """Sci-Fi: mountains over a glowing grid that runs to the horizon."""
    b.ground(60, mix(b.dark, b.sky, 0.3), GROUND_PX - 70)
    b.draw.rectangle((0, GROUND_PX - 20, WIDTH_PX, HEIGHT_PX), fill=b.dark)
    glow = mix(b.dark, b.accent, 0.6)
    for x in range(-900, 1600, 100):
        b.draw.line((300 + (x - 300) * 0.15, GROUND_PX - 20, x, HEIGHT_PX), fill=glow, width=3)
    for step in range(9):
        y = GROUND_PX - 20 + 4 * step * step
        b.draw.line((0, y, WIDTH_PX, y), fill=glow, width=3)


def crowd(b: Brush) -> None:
    """Documentary: many people, and the perforation of a film strip."""
    for row in range(2):
        for x in range(40 + 30 * row, 580, 58):
            height = b.rng.randint(130, 190)
            b.person(x + b.rng.randint(-9, 9), GROUND_PX + row * 16, height, mix(b.dark, b.sky, 0.4 - 0.3 * row))
    b.draw.rectangle((0, GROUND_PX, WIDTH_PX, HEIGHT_PX), fill=mix(b.sky, (245, 243, 238), 0.7))
    b.draw.rectangle((0, GROUND_PX, WIDTH_PX, GROUND_PX + 44), fill=b.dark)
    for x in range(8, WIDTH_PX, 40):
        b.draw.rounded_rectangle((x, GROUND_PX + 11, x + 24, GROUND_PX + 33), radius=5, fill=(240, 238, 230))


def desert(b: Brush) -> None:
    """Western: mesas, a cactus, and a stranger with a hat."""
    for _ in range(2):
        x, wide, tall = b.rng.randint(0, 500), b.rng.randint(110, 210), b.rng.randint(70, 170)
        rock = [(x - 30, GROUND_PX), (x, GROUND_PX - tall), (x + wide, GROUND_PX - tall), (x + wide + 40, GROUND_PX)]
        b.draw.polygon(rock, fill=mix(b.dark, b.accent, 0.35))
    b.ground(8)
    x = b.rng.choice((90, 510))
    b.draw.rounded_rectangle((x - 15, GROUND_PX - 170, x + 15, GROUND_PX + 8), radius=15, fill=b.dark)
    for side, y in ((-1, GROUND_PX - 90), (1, GROUND_PX - 120)):
        b.draw.line((x, y, x + side * 46, y, x + side * 46, y - 50), fill=b.dark, width=18, joint="curve")
    b.person(b.rng.randint(240, 360), GROUND_PX + 12, b.rng.randint(230, 320), b.dark, is_hatted=True)


Painter = Callable[[Brush], None]
