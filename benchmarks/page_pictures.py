"""The pictures of the page in the documentation, of a model that is trained, registered and served as a user does it.

    python -m benchmarks.page_pictures [--url URL --poster FILE] [--into docs]

Without a URL it runs `onesheet demo`, whose films and posters are invented. Chromium is needed, of Debian's package
`chromium`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
# name → width, height, colour scheme, whether the card is open.
PICTURES = {
    "page": (1200, 900, "light", False),
    "page-dark": (1200, 900, "dark", False),
    "page-phone": (390, 844, "light", False),
    "page-card": (1200, 900, "light", True),
}
_CARD_PX = 1700
_COLOURS = 256


@contextlib.contextmanager
def demo(epochs: int) -> Iterator[tuple[str, Path]]:
    """A running demo: its address, and a poster."""
    with tempfile.TemporaryDirectory(prefix="onesheet-pictures-") as folder:
        onesheet = str(Path(__file__).resolve().parent.parent / "onesheet.py")
        command = [sys.executable, onesheet, "demo", "--folder", folder, "--store", f"{folder}/store"]
        process = subprocess.Popen(
            [*command, "--epochs", str(epochs), "--port", "8765", "--json"], stdout=subprocess.PIPE
        )
        try:
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                raise SystemExit("the demo did not come up; its reason is above")
            ready = json.loads(line)
            yield ready["url"], Path(ready["sample"])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def taken(browser: Any, url: str, poster: Path, size: tuple[int, int], scheme: str, *, card: bool) -> bytes:
    """A picture of the whole page with a poster read, a genre explained and similar posters found."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.goto(url)
    page.wait_for_selector("#model strong")
    if card:
        page.click("#card summary")
        page.wait_for_selector("#card-text table")
    else:
        page.set_input_files("#pick", str(poster))
        page.wait_for_selector("#bars li")
        page.locator("#bars button").first.click()
        page.wait_for_selector("#heat:visible")
        page.wait_for_selector("#alike:not(:has(.thumb:not([src]))) .thumb")
        page.evaluate("Promise.all([...document.querySelectorAll('.thumb')].map((it) => it.decode())).then(() => true)")
    shown: bytes = page.screenshot(full_page=True)
    page.close()
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of an endpoint that runs")
    parser.add_argument("--poster", type=Path, help="to show there")
    parser.add_argument("--epochs", type=int, default=15, help="of the demo's model")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    given = parser.parse_args()
    if bool(given.url) != bool(given.poster):
        parser.error("--url and --poster go together")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    served = contextlib.nullcontext((given.url, given.poster)) if given.url else demo(given.epochs)
    with served as (url, poster), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, (width, height, scheme, card) in PICTURES.items():
            picture = taken(browser, url, poster, (width, height), scheme, card=card)
            shown = Image.open(io.BytesIO(picture)).convert("RGB")
            shown = shown.crop((0, 0, width, min(shown.height, _CARD_PX)))
            path = given.into / f"{name}.png"
            shown.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
            print(f"{path}  {shown.width} x {shown.height} px, {path.stat().st_size / 1000:.0f} KB")
        browser.close()


if __name__ == "__main__":
    main()
