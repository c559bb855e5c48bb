"""The README's picture: the first screen of a report, photographed by Chromium.

    tunelab run --set "seeds=[0,1,2]" && python scripts/readme_picture.py results/quickstart

Writes docs/images/report.png with fewer colours where that is needed to stay below 200 KB. Run it anew when the report
looks different.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "docs" / "images" / "report.png"
MOST_BYTES = 200_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLOURS = (256, 128, 64, 32, 16)


def photograph(page: Path, *, width: int, height: int) -> Image.Image:
    """The page's first screen, in light colours.

    Raises:
        FileNotFoundError: there is no browser.
        CalledProcessError: the browser failed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is on PATH; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}", "--virtual-time-budget=3000", f"--screenshot={picture}",
        ]  # fmt: skip
        command = [browser, *options, page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")


def small(picture: Image.Image, *, most_bytes: int = MOST_BYTES) -> bytes:
    """A PNG of at most so many bytes: as it is, else with a palette of ever fewer colours.

    Raises:
        ValueError: 16 colours are still too big.
    """
    for number in (None, *COLOURS):
        written = io.BytesIO()
        shown = picture if number is None else picture.quantize(number, dither=Image.Dither.NONE)
        shown.save(written, format="PNG", optimize=True)
        if written.tell() <= most_bytes:
            return written.getvalue()
    raise ValueError(f"above {most_bytes:,} bytes with {number} colours: photograph a smaller part (--height)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a folder with report.html")
    parser.add_argument("--out", type=Path, default=PLACE)
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1000)
    given = parser.parse_args()
    page = given.results / "report.html"
    if not page.exists():
        sys.exit(f"{page} is not there: give the folder of a finished study")
    written = small(photograph(page, width=given.width, height=given.height))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(written)
    print(f"{given.out}: {len(written) / 1000:.0f} KB")


if __name__ == "__main__":
    main()
