"""scripts/list_benchmarks.py: every benchmark with its command, and every page of results."""

from docs.pages import ROOT, script

LISTING = script("list_benchmarks").listing()


def test_every_benchmark_has_its_command_and_every_page_is_named():
    scripts, pages = (sorted((ROOT / "benchmarks").glob(kind)) for kind in ("*.py", "*.md"))
    assert len(scripts) > 10 and len(pages) > 20
    assert [file.name for file in scripts if f"python benchmarks/{file.name}" not in LISTING] == []
    assert [page.name for page in pages if page.name not in LISTING] == []
