"""Small JPEG pictures inside the HTML file, as ``data:`` addresses."""

from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

from PIL import Image

from deft.tables.pictures import PictureError, open_rgb

logger = logging.getLogger(__name__)

MAX_EDGE_PX = 256  # the contract's limit
EDGE_PX = 160  # enough to see a solder joint, a fifth of the bytes of 256 px
QUALITY = 80
BUDGET_BYTES = 600_000  # with the gallery's share it keeps the report of most runs below 2 MB


class Thumbnails:
    """Make thumbnails until the report's share of bytes is used up.

    ``levels``: full scale of pictures deeper than 8 bits (:func:`deft.tables.pictures.open_rgb`).
    """

    def __init__(
        self,
        edge_px: int = EDGE_PX,
        budget_bytes: int = BUDGET_BYTES,
        levels: int | None = None,
    ) -> None:
        if not 0 < edge_px <= MAX_EDGE_PX:
            raise ValueError(f"edge_px must be in 1..{MAX_EDGE_PX}, got {edge_px}")
        self.edge_px, self.levels = edge_px, levels
        self.left = budget_bytes
        self._made: dict[str, str | None] = {}

    def __call__(self, path: str | Path | None) -> str | None:
        """Return a ``data:image/jpeg`` address, or None (no picture, unreadable, budget spent)."""
        if not path:
            return None
        key = str(path)
        if key not in self._made:
            self._made[key] = self._make(Path(key))
        return self._made[key]

    def _make(self, path: Path) -> str | None:
        try:
            # A big JPEG is decoded at a fraction of its size.
            small = open_rgb(path, self.levels, draft_px=2 * self.edge_px)
        except PictureError as error:
            logger.warning("left out the picture %s", error)
            return None
        small.thumbnail((self.edge_px, self.edge_px), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        text = base64.b64encode(buffer.getvalue()).decode("ascii")
        if len(text) > self.left:
            return None
        self.left -= len(text)
        return f"data:image/jpeg;base64,{text}"
