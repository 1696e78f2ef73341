"""What the pictures of benchmark results are made of: a card in the reader's colours, and shapes on it."""

from collections.abc import Iterable
from html import escape

WIDTH = 760
MARGIN = 24
STYLE = """
text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; fill: #1f2328 }
.card { fill: #ffffff; stroke: #d1d9e0 } .title { font-size: 17px; font-weight: 600 }
.soft { fill: #59636e; font-size: 11.5px } .value { font-weight: 600; font-size: 12.5px }
.grid { stroke: #e4e8ec } .whisker { stroke: #1f2328; stroke-opacity: .65; stroke-width: 1.4 }
.s0 { fill: #8fa3b8 } .s1 { fill: #c69ad0 } .s2 { fill: #d9b26a } .ours { fill: #2f81d6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .card { fill: #0d1117; stroke: #30363d } .soft { fill: #9198a1 }
  .grid { stroke: #21262d } .whisker { stroke: #e6edf3 }
  .s0 { fill: #5b6b7d } .s1 { fill: #8a5f96 } .s2 { fill: #93763c } .ours { fill: #388bfd }
}
"""


def card(title: str, subtitle: str, foot: str, height: float, parts: Iterable[str]) -> str:
    """A complete SVG file: a card so high, with these shapes; the foot goes below them."""
    texts = [text(MARGIN, 34, title, "title")]
    if subtitle:
        texts.append(text(MARGIN, 54, subtitle, "soft"))
    if foot:
        texts.append(text(MARGIN, height + 6, foot, "soft"))
        height += 14
    height += 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>\n'
        + "\n".join([*texts, *parts])
        + "\n</svg>\n"
    )


def top_of(subtitle: str) -> float:
    """Where the shapes of a card may begin."""
    return 62.0 if subtitle else 44.0


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def whisker(x: float, y: float, end: float) -> str:
    ends = f"M{x:.1f} {y - 4:.1f}v8M{end:.1f} {y - 4:.1f}v8"
    return f'<path class="whisker" d="M{x:.1f} {y:.1f}H{end:.1f}{ends}"/>'
