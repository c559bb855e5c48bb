"""`tunelab list`: every name that exists, one line each."""

import pytest

from tunelab import catalogue
from tunelab.models.configurations import known_names
from tunelab.study.planning import bundled


@pytest.mark.parametrize("kind", ["methods", "tasks", "metrics", "trackers"])
def test_every_file_is_listed_with_its_first_line(command, kind):
    lines = command("list", kind).out.splitlines()
    assert [line.split()[0] for line in lines] == catalogue.names(kind)
    assert all(len(line.split()) > 3 for line in lines)


def test_studies_are_listed_with_their_first_comment(command):
    lines = command("list", "studies").out.splitlines()
    assert [line.split()[0] for line in lines] == bundled.names()
    assert "quickstart" in bundled.names()
    assert not any("(no comment)" in line for line in lines)


def test_models_are_the_embedded_and_the_well_known(command):
    names = [line.split()[0] for line in command("list", "models").out.splitlines()]
    assert names == ["tunelab/tiny", "tunelab/tiny-seq2seq", *known_names()]
