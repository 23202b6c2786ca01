"""A curve as a picture, in the colors of the other ones in docs/img, without a library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 960, 380
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 64, 56
_STYLE = """
  .bg { fill: #FBFAF7 } .h { fill: #1B2420; font-size: 17px; font-weight: 600 }
  .p { fill: #4A544F; font-size: 13px }
  .g { stroke: #7D776B; stroke-opacity: .3 } .c { stroke: #0B6B5D; stroke-width: 2; fill: none }
  .l { stroke: #B36B00; stroke-width: 2; stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) {
    .bg { fill: #111715 } .h { fill: #ECF1EE } .p { fill: #AEBBB5 }
    .g { stroke: #7C8A84 } .c { stroke: #5CC8B2 } .l { stroke: #E0A94A }
  }
"""


def svg(
    title: str,
    description: str,
    points: Sequence[tuple[float, float]],
    limit: float,
    labels: tuple[str, str],
) -> str:
    """Return the picture of (x, y) points from zero on, with a limit of y; labels name x and y."""
    widest = max(x for x, _ in points) or 1
    tallest = 1.15 * max(limit, *(y for _, y in points))

    def across(x: float) -> float:
        return round(LEFT + x / widest * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - y / tallest * (HEIGHT - TOP - BOTTOM), 1)

    path = " ".join(f"{across(x)},{down(y)}" for x, y in points)
    step = limit / 4
    lines = [
        f'<path class="g" d="M{LEFT} {down(level)}H{WIDTH - RIGHT}"/>'
        + _text(LEFT - 8, down(level) + 4, f"{level:,.0f}")
        for level in (step * number for number in range(5))
    ]
    ticks = [
        _text(across(widest * part / 4), HEIGHT - BOTTOM + 20, f"{widest * part / 4:,.0f}", "middle")
        for part in range(4)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-labelledby="t d" font-family="system-ui, -apple-system, \'Segoe UI\', sans-serif">',
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(description)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
            f'<text class="h" x="24" y="34">{escape(title)}</text>',
            *lines,
            *ticks,
            _text(WIDTH - RIGHT, HEIGHT - BOTTOM + 20, f"{widest:,.0f}"),
            f'<path class="l" d="M{LEFT} {down(limit)}H{WIDTH - RIGHT}"/>',
            f'<polyline class="c" points="{path}"/>',
            _text(24, TOP - 8, labels[1], "start"),
            _text(WIDTH - RIGHT, HEIGHT - 12, labels[0]),
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, anchor: str = "end") -> str:
    return f'<text class="p" text-anchor="{anchor}" x="{x}" y="{y}">{escape(words)}</text>'
