"""The benchmark of the page, in a real browser with few cards."""

import json

import pytest
from browsers import needs_browser

from benchmarks import page

pytestmark = needs_browser


@pytest.mark.full
def test_pages_are_opened_and_answered(tmp_path, capsys):
    out = tmp_path / "page.json"
    page.main(["--smoke", "--out", str(out)])
    pages = json.loads(out.read_text())["pages"]
    assert [*pages] == ["photos", "texts", "rows"]
    for told in pages.values():
        (visit,) = told["visits"]
        assert 0 < told["megabytes"] < 1 and visit["open_seconds"] > 0
        assert len(visit["key_milliseconds_home"]) == 3
        assert min(visit["key_milliseconds_end"]) > 0
    assert "40 cards" in capsys.readouterr().out
