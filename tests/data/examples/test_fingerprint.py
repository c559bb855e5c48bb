"""A fingerprint follows what shapes the rows and nothing else."""

from tunelab.data.examples import fingerprint
from tunelab.data.synthetic import arithmetic, restaurants


def test_place_of_a_file_does_not_count_but_its_bytes_do(tmp_path):
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(content)
    a, b, c = (fingerprint.fingerprint(options={"n": 1}, files={"train": tmp_path / name}) for name in "abc")
    assert a == b != c
    assert a != fingerprint.fingerprint(options={"n": 2}, files={"train": tmp_path / "a"})


def test_a_generator_is_followed_into_what_it_imports_and_no_further():
    files = {path.name for path in fingerprint._imported_files(restaurants)}
    assert {"restaurants.py", "restaurant_wording.py", "draw.py", "food.py"} <= files
    assert "headlines.py" not in files
    options = {"seed": 0}
    assert fingerprint.of_generator(restaurants, options=options) != fingerprint.of_generator(
        arithmetic, options=options
    )
