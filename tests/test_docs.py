"""The documentation's promises: it builds, it is complete, and what it shows runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import doc_pages
import pytest
import yaml

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
    return [Path(leaf) for leaf in leaves(settings["nav"])]


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
    page = page_of(tmp_path, "```bash\niwps score no.npy \\\n  --pick 1\n```\n")
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
