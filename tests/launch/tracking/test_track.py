"""`tunelab track`: a finished study is mirrored, what cannot be is refused; a study with `track:` does it itself."""

import shutil

import pytest
import yaml

import tunelab
from launch.tracking import fake_trackers
from tunelab import catalogue
from tunelab.config.read import dump, read_study
from tunelab.errors import ConfigError, RunError
from tunelab.launch import follow
from tunelab.launch.run import Outcome
from tunelab.launch.tracking.track import track_text
from tunelab.study.store import Store

pytestmark = pytest.mark.slow

STUDY = """
name: small
model: {model}
tasks: [{{name: restaurants, train_rows: 24, validation_rows: 4, test_rows: 6, metrics: [rouge_l, perplexity]}}]
methods: [lora: {{rank: 2, learning_rate: 1e-3}}]
seeds: [0]
budget: {{steps: 2}}
precision: fp32
threads: 1
generation: {{max_new_tokens: 4}}
track: [keeps, absent]
"""


class View:
    def __init__(self):
        self.lines = []

    def planned(self, runs, store): ...

    def event(self, run, event): ...

    def told(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", fake_trackers.install(folder))
        patch.syspath_prepend(folder)
        catalogue._declared.cache_clear()
        yield
    catalogue._declared.cache_clear()


@pytest.fixture(scope="module")
def study(fakes, tmp_path_factory):
    """Executed with two trackers, of which one is not there; what was told of it."""
    import tiny

    folder = tmp_path_factory.mktemp("study")
    tiny.model_folder(folder / "llama")
    (folder / "small.yaml").write_text(STUDY.format(model="llama"))
    view = View()
    tunelab.run(folder / "small.yaml", out=folder / "out", cluster="in-process", view=view)
    return folder / "out", view.lines


def told(out, name="keeps"):
    return (out / "trackers" / name / "told.txt").read_text().splitlines()


def test_a_study_with_trackers_tells_them_what_its_runs_write(study):
    out, lines = study
    found = told(out)
    assert sum(line.startswith("begin lora--restaurants--seed0") for line in found) == 1
    sent = " ".join(line.removeprefix("send ") for line in found if line.startswith("send"))
    assert sent.split() == ["1", "2"]
    assert found.count("end finished") == 2
    assert [line for line in lines if line.startswith("track: ")] == [
        "track: absent: the package no_such_package is not installed: pip install no-such-package. "
        f"Then `tunelab track {out} --to absent` sends all of it. The runs go on."
    ]


def test_the_report_and_the_study_file_say_which(study):
    out, _ = study
    assert yaml.safe_load((out / "study.yaml").read_text())["track"] == ["keeps", "absent"]
    report = (out / "report.md").read_text()
    assert "keeps: 2 runs; absent: the package no_such_package is not installed" in report


def test_a_finished_study_is_mirrored_and_a_second_time_sends_nothing(study):
    out, _ = study
    before = told(out)
    assert track_text(str(out), out=None, names=["keeps"]) == f"keeps: 2 runs; cat {out}/trackers/keeps/told.txt"
    assert told(out) == before


def test_the_studys_own_trackers_are_meant_where_none_is_named(study):
    out, _ = study
    with pytest.raises(ConfigError, match="^absent: the package no_such_package is not installed"):
        track_text(str(out), out=None, names=[])


def test_looking_on_while_jobs_execute_a_study_mirrors_it(study, tmp_path, monkeypatch):
    """`--wait`, of a study whose jobs end at the second look."""
    shutil.copytree(study[0], tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "trackers")
    in_queue = iter([True, False])
    monkeypatch.setattr(follow, "_in_queue", lambda *asked: next(in_queue))
    outcome = follow.follow(Outcome(None, tmp_path / "out", 0), View())
    assert outcome.num_failed == 0
    assert told(tmp_path / "out").count("end finished") == 2


def test_a_tracker_that_fails_is_an_error_with_its_reason(study):
    out, _ = study
    with pytest.raises(RunError, match="^raises: ValueError: no room for more .see .*log.txt.; `tunelab track "):
        track_text(str(out), out=None, names=["raises"])


def test_what_cannot_be_mirrored_is_refused(study, monkeypatch, tmp_path):
    out, _ = study
    with pytest.raises(ConfigError, match="^Unknown tracker 'kepes'. Did you mean 'keeps'"):
        track_text(str(out), out=None, names=["kepes"])
    read = read_study(Store(out).study_file)
    (tmp_path / "study.yaml").write_text(dump(read.config.model_copy(update={"track": ()})))
    with pytest.raises(ConfigError, match="its study names no tracker; say --to NAME"):
        track_text(str(tmp_path), out=None, names=[])
    with pytest.raises(ConfigError, match="nothing was started there"):
        track_text("quickstart", out=tmp_path / "none", names=["keeps"])
    monkeypatch.setenv("TUNELAB_TRACK", "off")
    with pytest.raises(ConfigError, match="^TUNELAB_TRACK=off is in the environment, so nothing is sent; unset it"):
        track_text(str(out), out=None, names=["keeps"])
