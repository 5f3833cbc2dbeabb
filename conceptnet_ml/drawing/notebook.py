"""Small pieces of HTML for notebooks: tables and pictures that need nothing else, everything from outside escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

from conceptnet_ml.drawing.pictures import ImageLike, to_image
from conceptnet_ml.errors import visible

LARGEST = 150_000
"""Bytes of a picture in a notebook, as it is embedded: notebooks are kept in repositories."""


def data_uri(image: Image.Image, side: int, quality: int = 76) -> tuple[str, Image.Image]:
    """A picture as a WebP data URI, its longer side at most ``side`` px; and the picture as it is in it."""
    scale = min(1.0, side / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", image


def picture_html(picture: ImageLike, side: int, alt: str) -> str:
    """A picture of :data:`LARGEST` bytes at most: one that is larger is made smaller."""
    source, image = data_uri(to_image(picture), side)
    while len(source) > LARGEST:
        source, image = data_uri(image, max(16, 3 * max(image.size) // 4))
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img src="{source}" {size} alt="{escape(visible(alt))}">'


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(visible(cell))}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
