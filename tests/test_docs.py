"""The documentation's promises: it builds, it is complete, and what it shows runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import doc_pages
import overview
import pytest
import yaml

import iwps_jax
from iwps_jax import recommendations
from iwps_jax.__main__ import COMMANDS
from iwps_jax.methods import ROWS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = doc_pages.pages_below(DOCS)


def pages_in_nav():
    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        children = entry.values() if isinstance(entry, dict) else entry
        return [leaf for child in children for leaf in leaves(child)]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    return [Path(leaf) for leaf in leaves(overview.with_all_methods(settings["nav"]))]


def test_the_navigation_names_every_page_once():
    assert sorted(pages_in_nav()) == PAGES


def test_the_site_builds_without_a_warning(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stderr
    for page in PAGES:
        html = (tmp_path / page.with_suffix(".html")).read_text(encoding="utf-8")
        # Whatever a browser fetches by itself is in the site's own folder.
        fetched = re.findall(r'<(?:script|img|iframe)[^>]* src="?([^" >]+)', html)
        fetched += re.findall(r'<link[^>]* rel="?stylesheet"?[^>]*>', html)
        assert not [address for address in fetched if "//" in address]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    doc_pages.run_page(DOCS / page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_of_a_kind_that_is_known(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(
        list(doc_pages.blocks_of(text))
    )
    for block in doc_pages.blocks_of(text):
        runs = block.language in ("python", "bash") or doc_pages.is_file(block.title)
        assert runs or block.language in ("text", "csv"), block
        is_known = block.title in ("", doc_pages.NOT_RUN)
        assert is_known or doc_pages.is_file(block.title), block


# The pages of methods

METHODS = [page for page in PAGES if page.parts[0] == "methods"]
HEADINGS = [
    "What it is",
    "Formula",
    "When to use it",
    "Cost and memory",
    "The test that proves it",
    "Example",
    "API",
]
AROUND = {
    "LoopState",
    "PoolError",
    "Records",
    "RoundInfo",
    "TopK",
    "loop",
    "sample_keys",
    "score_in_chunks",
    "score_pool",
    "top_k_of_pool",
}


def documented_on(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^::: iwps_jax\.(?:contrib\.)?(\w+)$", text, re.MULTILINE)


def test_every_score_and_selector_is_on_one_page_of_a_method():
    found = sorted(name for page in METHODS for name in documented_on(page))
    public = set(iwps_jax.__all__) - {"contrib"} | set(iwps_jax.contrib.__all__)
    assert found == sorted(public - AROUND)


def test_everything_else_is_in_the_reference():
    reference = [page for page in PAGES if page.parts[0] == "api"]
    found = {name for page in reference for name in documented_on(page)}
    with_the_loop = {"LoopState", "RoundInfo"} if "loop" in found else set()
    assert found | with_the_loop >= AROUND


@pytest.mark.parametrize(
    "page", [page for page in METHODS if page.stem != "index"], ids=str
)
def test_a_method_has_all_headings_in_order(page):
    sections = re.split(r"^## (.*)\n", (DOCS / page).read_text("utf-8"), flags=re.M)
    assert sections[1::2] == HEADINGS
    assert all(text.strip() for text in sections[2::2])
    text = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert "```text\n" in text["Formula"] and "```python\n" in text["Example"]
    assert "tests/test_" in text["The test that proves it"]
    used = {name for name in documented_on(page) if name[0].islower()}
    assert page.stem == "pixels" or used <= set(re.findall(r"\w+", text["Example"]))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_tests_it_names_exist(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert len(named) == text.count("::test_")
    for file, function in named:
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


# Their numbers


def measured():
    """(method, setting) -> (mean over rounds - Random, interval, verdict)."""
    found = {}
    text = (ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8")
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, *lines = section.splitlines()
        kind = re.fullmatch(r"([\w-]+), (balanced|imbalance (1/\d+))", heading)
        for line in lines if kind else ():
            cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
            gain = re.match(r"([+-][\d.]+) (\[.*?\])", cells[5]) if cells[5:] else None
            if gain:
                setting = kind[1], kind[3] or kind[2]
                found.setdefault((cells[0], *setting), (gain[1], gain[2], cells[6]))
    return found


MEASURED = measured()


def gain(method, dataset, kind, *, with_interval):
    difference, interval, verdict = MEASURED[method, dataset, kind]
    shown = difference if verdict == "not separable" else f"**{difference}**"
    return f"{shown} {interval}" if with_interval else shown


def rows_of_table(page, first_column):
    """The table whose first heading is this, as lists of cells."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(f"| {first_column}")]
    table = lines[starts[-1] :]
    table = table[: table.index("")] if "" in table else table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


METHOD_OF_PAGE = {
    "iwps_last_layer": "IWPS",
    "iwps_app": "IWPS-app",
    "margin": "Margin",
    "entropy": "Entropy",
    "mc_dropout": "MC-Dropout",
    "bald": "BALD",
    "error_reduction": "Err-Reduction",
    "core_set": "Coreset",
    "badge": "BADGE",
}


@pytest.mark.parametrize("stem", METHOD_OF_PAGE)
def test_gains_are_those_of_the_results(stem):
    page, method = f"methods/{stem}.md", METHOD_OF_PAGE[stem]
    (_, *kinds), _, *rows = rows_of_table(page, "Mean over rounds − Random")
    assert kinds == ["balanced", "1/10", "1/20"] and len(rows) == 3
    for dataset, *cells in rows:
        expected = [gain(method, dataset, kind, with_interval=True) for kind in kinds]
        assert cells == expected


def test_the_overview_is_that_of_the_results():
    (_, *settings), _, *rows = rows_of_table("methods/index.md", "method | MNIST")
    assert len(settings) == 9 and len(rows) == len(METHOD_OF_PAGE)
    for link, *cells in rows:
        method, stem = re.fullmatch(r"\[(.*)\]\((\w+)\.md\)", link).groups()
        assert METHOD_OF_PAGE[stem] == method
        settings_of_method = [setting.split(" ") for setting in settings]
        assert cells == [
            gain(method, *setting, with_interval=False)
            for setting in settings_of_method
        ]


def test_the_settings_of_iwps_batch_are_those_of_the_results():
    results = (ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8")
    header, _, *rows = rows_of_table("methods/iwps_batch.md", "setting")
    assert len(rows) == 9 and f"| {' | '.join(header)} |" in results.splitlines()
    for cells in rows:
        assert f"| {' | '.join(cells)} |" in results.splitlines()


@pytest.mark.parametrize("page", METHODS, ids=str)
def test_rates_are_those_of_the_benchmarks(page):
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    text = (DOCS / page).read_text(encoding="utf-8")
    rates = re.findall(r"([\d.,]+)\s(?:samples|images)/s", text)
    if page.stem == "index":
        rates += [line.split(" | ")[-1] for line in overview.table().splitlines()[2:]]
        rates = [rate.strip(" |") for rate in rates]
    for rate in filter(None, rates):
        assert re.search(rf"(?<![\d,]){re.escape(rate)}(?![\d,])", results), rate


@pytest.mark.parametrize("page", METHODS, ids=str)
def test_means_and_spreads_are_those_of_the_results(page):
    results = (ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8")
    text = (DOCS / page).read_text(encoding="utf-8").replace("−", "-")
    for mean, spread in re.findall(r"(\d+\.\d)\s±\s(\d+\.\d)", text):
        assert f" {mean} ± {spread} " in results, (mean, spread)
    for low, high in re.findall(r"\[([+-][\d.]+),\s([+-][\d.]+)\]", text):
        assert f"[{low}, {high}]" in results, (low, high)


# The reader itself


def page_of(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


@pytest.mark.parametrize(
    "line", ["pip install iwps-jax", "srun iwps next", "iwps score a.npy | head"]
)
def test_a_line_that_cannot_be_run_is_refused_unless_marked(tmp_path, line):
    block = f"```bash{{}}\n{line}\n```\n"
    with pytest.raises(ValueError, match="must be of|only a shell"):
        doc_pages.run_page(page_of(tmp_path, block.format("")), tmp_path)
    marked = block.format(f' title="{doc_pages.NOT_RUN}"')
    doc_pages.run_page(page_of(tmp_path, marked), tmp_path)


def test_a_command_that_is_refused_fails_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = page_of(tmp_path, "```bash\niwps check \\\n  --pool no.npy\n```\n")
    with pytest.raises(AssertionError, match="no.npy"):
        doc_pages.run_page(page, tmp_path)
    assert "no.npy" in capsys.readouterr().err


def test_blocks_run_in_order_with_one_namespace_and_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = """
```csv title="a.csv"
id,label
```

- in a list

    ```python
    from pathlib import Path
    seen = Path("a.csv").read_text()
    ```

```python title="not run by the tests"
seen = None
```

```python
seen = [seen, len(seen)]
```
"""
    scope = doc_pages.run_page(page_of(tmp_path, text), tmp_path)
    assert scope["seen"] == ["id,label\n", 9]


def test_a_page_is_skipped_where_a_module_is_missing(tmp_path):
    text = "<!-- requires: json, no_such_module -->\n```python\n1 / 0\n```\n"
    with pytest.raises(pytest.skip.Exception, match="no_such_module"):
        doc_pages.run_page(page_of(tmp_path, text), tmp_path)


def test_every_command_is_on_the_page_of_commands():
    page = (DOCS / "commands.md").read_text("utf-8")
    listed = re.findall(r"^\| `iwps (\w+)` ", page, flags=re.MULTILINE)
    assert set(listed) == set(COMMANDS)


def test_the_page_that_chooses_has_the_table_of_the_commands():
    text = overview.on_page_markdown((DOCS / "methods/index.md").read_text("utf-8"))
    _, rows = text.split("| if | use |\n|---|---|\n")
    used = re.findall(r"\((\w+)\.md\)", rows.split("\n\n")[0])
    pages = [ROWS[line.method].page for line in recommendations.TABLE]
    assert [f"{page}.md" for page in used] == pages
    assert recommendations.TABLE[-1].supplied == ()  # there is always an answer
