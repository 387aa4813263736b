"""Hooks of mkdocs: pages from outside docs/ join the site, and links between all pages hold.

A page that the navigation of mkdocs.yml names as `repository/PATH` is the repository's PATH. On GitHub pages link to
each other by their places in the repository; here those links are rewritten to places in the site. A link to a file
that is no page, such as a source file, becomes a link into `repo_url` if mkdocs.yml has one, and else its text alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

REPO = Path(__file__).resolve().parents[1]
ADDED = "repository/"
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FETCHED = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*\shref=[\"']?(?:https?:)?//")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the navigation that lie outside docs/."""
    for uri in _pages(config.nav):
        if uri.startswith(ADDED):
            files.append(File.generated(config, uri, abs_src_path=str(REPO / uri.removeprefix(ADDED))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the page's links from places in the repository to places in the site; code blocks stay as they are."""
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _rewritten(link, page, config, files), part) for part in parts[::2]]
    return "".join(parts)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Raise PluginError if the page's HTML would fetch a script, a style, a font or a picture from another host."""
    del config
    if found := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} fetches from another host: {found[0]}")
    return output


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _pages(each)


def _rewritten(link: re.Match[str], page: Page, config: MkDocsConfig, files: Files) -> str:
    mark, text, target = link.groups()
    place, _, anchor = target.partition("#")
    if not place or re.match(r"[a-z]+:", place):
        return link[0]
    here = page.file.src_uri
    origin = here.removeprefix(ADDED) if here.startswith(ADDED) else f"docs/{here}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), place))
    if not (REPO / path).exists():
        return link[0]  # mkdocs says so
    for uri in (path.removeprefix("docs/") if path.startswith("docs/") else None, *_in_site(path)):
        if uri and files.get_file_from_path(uri):
            there = posixpath.relpath(uri, posixpath.dirname(here) or ".")
            return f"{mark}[{text}]({there}{'#' + anchor if anchor else ''})"
    return f"{mark}[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else text


def _in_site(path: str) -> tuple[str, ...]:
    """Return the pages that may stand for a path outside docs/: itself, or a folder's README."""
    if path == "README.md":
        return ("README.md",)
    return (ADDED + path, f"{ADDED}{path}/README.md")
