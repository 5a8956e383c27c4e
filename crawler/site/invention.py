"""Invented films: names, years, ratings and genres of titles that exist nowhere, the same for the same seed."""

from __future__ import annotations

import base64
import hashlib
import random

from crawler.titles import Kind, Title, number_of

FIRST_NUMBER = 9_900_001

# How often which genres come together, in percent; roughly IMDb's own mixture, thinned to eight genres.
_MIXTURES = {
    ("Drama",): 15,
    ("Drama", "Romance"): 10,
    ("Comedy",): 11,
    ("Comedy", "Romance"): 7,
    ("Comedy", "Drama"): 8,
    ("Comedy", "Drama", "Romance"): 4,
    ("Action",): 5,
    ("Action", "Drama"): 5,
    ("Action", "Sci-Fi"): 4,
    ("Action", "Comedy"): 2,
    ("Action", "Drama", "Western"): 1,
    ("Horror",): 7,
    ("Drama", "Horror"): 2,
    ("Comedy", "Horror"): 2,
    ("Horror", "Sci-Fi"): 2,
    ("Sci-Fi",): 2,
    ("Drama", "Sci-Fi"): 2,
    ("Documentary",): 6,
    ("Documentary", "Drama"): 1,
    ("Western",): 2,
    ("Drama", "Western"): 1,
    ("Action", "Western"): 1,
}

_NOUNS = {
    "Action": "Bullet Convoy Fury Vendetta Overdrive Heist Thunder Pursuit",
    "Comedy": "Wedding Neighbour Weekend Uncle Holiday Landlord Cousin Parade",
    "Documentary": "Archive River Harvest Witness Island Factory Border Orchestra",
    "Drama": "Winter House Silence Daughter Harbour Letter Garden Promise",
    "Horror": "Cellar Hollow Whisper Asylum Crypt Scream Ritual Attic",
    "Romance": "Kiss Summer Heart Waltz Moonlight Bride Serenade Embrace",
    "Sci-Fi": "Orbit Signal Android Eclipse Colony Horizon Machine Nebula",
    "Western": "Canyon Saddle Outlaw Mesa Stagecoach Gunslinger Prairie Sheriff",
}
_ADJECTIVES = {
    "Action": "Maximum Lethal Burning Final Iron",
    "Comedy": "Clumsy Grand Crazy Lucky Awkward",
    "Documentary": "Hidden Living Endless Forgotten Common",
    "Drama": "Quiet Broken Distant Pale Unspoken",
    "Horror": "Cursed Buried Bleeding Hungry Midnight",
    "Romance": "Tender Stolen Golden Sweet Last",
    "Sci-Fi": "Quantum Silent Electric Outer Second",
    "Western": "Dusty Lonesome Crooked Wild Red",
}
_FIRST_NAMES = (
    "Ada", "Björn", "Clara", "Dario", "Émile", "Frances", "Gus", "Ingrid",
    "Jonah", "Lena", "Marlow", "Nadia", "Oskar", "Petra", "Rosa", "Théo",
)  # fmt: skip
_PLACES = (
    "Avalon", "Bratislava", "Cádiz", "Dunmore", "Esperanza", "Galway", "Kyoto",
    "Laredo", "Montréal", "Nantes", "Odessa", "Salzburg", "Tallinn",
)  # fmt: skip
_PATTERNS = (
    "The {adjective} {noun}",
    "{adjective} {noun}",
    "{noun} of {place}",
    "The {noun}",
    "{name}'s {noun}",
    "{name} & the {noun}",
    "{adjective} {noun}s",
    "Beyond the {noun}",
    "A {noun} in {place}",
    "{name}, {name2}",
    "{noun}: {adjective} Days",
)


def invent_titles(count: int = 400, seed: int = 0) -> list[Title]:
    """`count` titles with ids from tt9900001 up; about half carry a poster URL, 2 % have no poster anywhere.

    Most are films; one in ten is a series, one in 25 an episode, one in 100 a game.
    """
    rng = random.Random(f"onesheet {seed}")  # noqa: S311  films, not secrets
    names: set[str] = set()
    return [_invent(f"tt{FIRST_NUMBER + number}", rng, names) for number in range(count)]


def is_posterless(imdb_id: str) -> bool:
    """Whether an invented title has no poster at all, so that its page shows the site's logo."""
    return int(imdb_id.removeprefix("tt")) % 50 == 7


def kind_of(imdb_id: str) -> Kind:
    """What an invented title is. By its id, so that kinds leave names, genres and posters as they are."""
    number = number_of(imdb_id)
    if number % 10 == 4:
        return Kind.SERIES
    if number % 25 == 11:
        return Kind.EPISODE
    return Kind.GAME if number % 100 == 28 else Kind.FILM


def image_token(imdb_id: str) -> str:
    """A name for a title's image that looks like IMDb's own, always the same for a title."""
    digest = hashlib.sha256(imdb_id.encode()).digest()
    return f"MV5B{base64.urlsafe_b64encode(digest[:27]).decode()}@"


def _invent(imdb_id: str, rng: random.Random, names: set[str]) -> Title:
    genres = rng.choices(list(_MIXTURES), weights=list(_MIXTURES.values()))[0]
    name = _name(genres, rng)
    while name in names and len(names) < 2000:
        name = _name(genres, rng)
    names.add(name)
    listed = rng.random() < 0.5 and not is_posterless(imdb_id)
    url = f"https://m.media-amazon.com/images/M/{image_token(imdb_id)}._V1_UX182_CR0,0,182,268_AL_.jpg"
    return Title(
        imdb_id=imdb_id,
        title=name,
        year=int(rng.triangular(1950, 2025, 2012)),
        genres=genres,
        rating=round(min(9.3, max(1.8, rng.gauss(6.4, 1.1))), 1),
        poster_url=url if listed else None,
        kind=kind_of(imdb_id),
    )


def _name(genres: tuple[str, ...], rng: random.Random) -> str:
    genre = rng.choice(genres)
    first, second = rng.sample(_FIRST_NAMES, 2)
    return rng.choice(_PATTERNS).format(
        adjective=rng.choice(_ADJECTIVES[genre].split()),
        noun=rng.choice(_NOUNS[genre].split()),
        place=rng.choice(_PLACES),
        name=first,
        name2=second,
    )
