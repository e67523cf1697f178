"""The methods' overview, made from the rows of `iwps_jax.methods` as the site is built.

A hook of the documentation's build (see mkdocs.yml), not part of the library. It puts
the tables in the places of `<!-- methods -->` and `<!-- which -->` in
`methods/index.md`, and the pages of methods that the navigation does not name at the
end of "Choosing a method".
"""

import re
from pathlib import Path

from iwps_jax import recommendations
from iwps_jax.methods import ROWS

DOCS = Path(__file__).parent
PLACE, WHICH = "<!-- methods -->", "<!-- which -->"
SECTION = "Choosing a method"
NEEDED = {"draws": "draws of log-probabilities", "labels": "labeled set"}


def table() -> str:
    """A line for each method that is no research alternative."""
    lines = ["| method | needs | take it when | samples/s |", "|---|---|---|---|"]
    for row in ROWS.values():
        if not row.is_research:
            needs = ", ".join(NEEDED.get(need, need) for need in row.needs)
            cells = (
                f"[{row.label}]({row.page})",
                needs or "nothing",
                row.use,
                _rate(row),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def which() -> str:
    """A line for each recommendation, in the order in which commands ask."""
    lines = ["| if | use |", "|---|---|"]
    for line in recommendations.TABLE:
        row = ROWS[line.method]
        lines.append(f"| {line.when} | [{row.label}]({row.page}) |")
    return "\n".join(lines)


def _rate(row) -> str:
    """The rate on the method's page: the one after its name, or else the first."""
    text = (DOCS / "methods" / row.page).read_text(encoding="utf-8")
    rate = r"([\d,]+)\ssamples/s"
    found = re.search(rf"`{row.name}`\s{rate}", text) or re.search(rate, text)
    return found[1] if found else ""


def with_all_methods(nav: list) -> list:
    """The navigation with the pages of all methods."""
    pages = dict.fromkeys(f"methods/{row.page}" for row in ROWS.values())
    for entry in nav:
        if isinstance(entry, dict) and SECTION in entry:
            named = entry[SECTION]
            named += [page for page in pages if page not in named]
    return nav


def on_config(config, **_):
    """Called by mkdocs before it looks at the pages."""
    config.nav = with_all_methods(config.nav)
    return config


def on_page_markdown(markdown: str, **_) -> str:
    """Called by mkdocs for the text of every page."""
    return markdown.replace(PLACE, table()).replace(WHICH, which())
