"""Pure: a model card's Markdown as a piece of HTML for the page."""

from __future__ import annotations

from markdown_it import MarkdownIt

_FENCE = "---\n"


def card_as_html(markdown: str) -> str:
    """The card without its front matter and its title, which a page says itself; headings begin at h3.

    HTML within the Markdown is shown as text, and links lead to http, https or mailto only.
    """
    body = markdown.removeprefix(_FENCE).partition(f"\n{_FENCE}")[2] if markdown.startswith(_FENCE) else markdown
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(body.strip())
    if tokens and (tokens[0].type, tokens[0].tag) == ("heading_open", "h1"):
        tokens = tokens[3:]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    html: str = reader.renderer.render(tokens, reader.options, {})
    return html
