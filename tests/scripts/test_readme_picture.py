"""scripts/readme_picture.py: the first screen of a report as a small PNG, by a real browser."""

import io
import os
import subprocess
import sys

import pytest
from PIL import Image

from docs.pages import ROOT, script

PICTURE = script("readme_picture")


def test_a_picture_becomes_small_by_losing_colours_or_is_refused():
    noise = Image.effect_noise((300, 200), 90).convert("RGB")
    whole = PICTURE.small(noise, most_bytes=1_000_000)
    fewer = PICTURE.small(noise, most_bytes=len(whole) // 2)
    assert len(fewer) <= len(whole) // 2
    assert Image.open(io.BytesIO(fewer)).size == (300, 200)
    with pytest.raises(ValueError, match="with 16 colours"):
        PICTURE.small(noise, most_bytes=500)


def test_the_picture_in_the_repository_is_small_and_wide():
    file = ROOT / "docs" / "images" / "report.png"
    assert 10_000 < file.stat().st_size <= PICTURE.MOST_BYTES
    assert Image.open(file).size[0] == 1400


@pytest.mark.slow
def test_a_page_is_photographed(tmp_path):
    if not any(map(PICTURE.shutil.which, PICTURE.BROWSERS)):
        message = "no Chromium on PATH"
        pytest.fail(message) if os.environ.get("TUNELAB_REQUIRE_ALL") == "1" else pytest.skip(message)
    (tmp_path / "report.html").write_text("<body style='margin:0;background:#0000ff'></body>")
    command = [sys.executable, ROOT / "scripts" / "readme_picture.py", tmp_path, "--out", tmp_path / "new" / "x.png"]
    done = subprocess.run([*command, "--width", "600", "--height", "400"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    taken = Image.open(tmp_path / "new" / "x.png").convert("RGB")
    assert taken.size == (600, 400) and taken.getpixel((300, 200)) == (0, 0, 255)
    missing = subprocess.run([*command[:2], tmp_path / "gone"], capture_output=True, text=True)
    assert missing.returncode == 1 and "report.html is not there" in missing.stderr
