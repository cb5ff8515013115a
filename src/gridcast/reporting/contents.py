"""The table of contents of a page, made from its headings."""

from __future__ import annotations

import re

PLACE = "<!-- contents -->"
HEADING = re.compile(r"<h2(?: id=\"(?P<id>[^\"]+)\")?>(?P<title>.*?)</h2>")


def with_contents(page: str) -> str:
    """Return the page with a link to each `h2` at the comment `contents`; headings without an id get one."""
    links: list[str] = []

    def linked(match: re.Match[str]) -> str:
        name = match["id"] or f"chapter-{len(links) + 1}"
        links.append(f'<a href="#{name}">{match["title"]}</a>')
        return f'<h2 id="{name}">{match["title"]}</h2>'

    page = HEADING.sub(linked, page)
    return page.replace(PLACE, "\n".join(links))
