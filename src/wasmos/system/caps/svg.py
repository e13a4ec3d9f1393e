"""The map of capabilities as a picture: SVG, without the help of anything.

Law: well-formed XML whatever the names are; no script, no link, nothing that is loaded. The tree
grows to the right, a column for each time that something was passed on; boxes never overlap,
because a box has a row of its own and a parent stands beside the middle of its heirs.
"""

from __future__ import annotations

from wasmos.system.caps.graph import STYLES, graph

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wasmos.system.caps.capmap import Snapshot
    from wasmos.system.caps.graph import Node

CHARACTER = 6.7  # the width of one, at 11 pixels of a fixed-width font
WIDE = 12.0  # of those that take two columns
LINE = 15
PAD = 9
GAP_X = 44
GAP_Y = 10
MARGIN = 16
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


class _Box:
    """A node, and where it is. `x` comes last: a column is as wide as its widest box."""

    def __init__(self, node: Node, column: int) -> None:
        self.node = node
        self.column = column
        self.width = max(map(_width, node.lines)) + 2 * PAD
        self.height = len(node.lines) * LINE + 2 * PAD - 4
        self.heirs = [_Box(heir, column + 1) for heir in node.heirs]
        self.x = self.y = 0.0

    def place(self, top: float) -> float:
        """Put itself and its heirs below `top`; where the next one can begin."""
        below = top
        for heir in self.heirs:
            below = heir.place(below)
        if not self.heirs:
            self.y = top
            return top + self.height + GAP_Y
        self.y = (self.heirs[0].middle + self.heirs[-1].middle - self.height) / 2
        if self.y < top:  # it is higher than all of them together
            for box in self.walk()[1:]:
                box.y += top - self.y
            below += top - self.y
            self.y = top
        return max(below, self.y + self.height + GAP_Y)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    def walk(self) -> list[_Box]:
        found = [self]
        for box in found:
            found.extend(box.heirs)
        return found


def svg(found: Snapshot) -> str:
    boxes: list[_Box] = []
    top = float(MARGIN)
    for node in graph(found):
        box = _Box(node, 0)
        top = box.place(top) + GAP_Y
        boxes += box.walk()
    right = _columns(boxes)
    width, height = max(right, 200), max(top - 2 * GAP_Y, 20) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="11">',
        f"<title>{_text('capabilities ' + str(found.get('name', '')))}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for box in boxes:
        lines += [_arrow(box, heir) for heir in box.heirs]
    for box in boxes:
        lines += _drawn(box)
    return "\n".join([*lines, "</svg>"])


def _columns(boxes: list[_Box]) -> float:
    """Give each column its place; where the last one ends."""
    widths: dict[int, float] = {}
    for box in boxes:
        widths[box.column] = max(widths.get(box.column, 0), box.width)
    at: dict[int, float] = {}
    x = float(MARGIN)
    for column, width in sorted(widths.items()):
        at[column] = x
        x += width + GAP_X
    for box in boxes:
        box.x = at[box.column]
    return x - GAP_X + MARGIN if widths else x


def _arrow(box: _Box, heir: _Box) -> str:
    begin, end = box.x + box.width, heir.x
    bend = end - GAP_X / 2
    return (
        f'<path d="M{begin:.1f} {box.middle:.1f} H{bend - 14:.1f} C{bend:.1f} {box.middle:.1f} '
        f'{bend - 8:.1f} {heir.middle:.1f} {end - 6:.1f} {heir.middle:.1f}" '
        'fill="none" stroke="#9ca3af" stroke-width="1.3"/>'
        f'<path d="M{end - 7:.1f} {heir.middle - 3.5:.1f} l7 3.5 l-7 3.5 z" fill="#9ca3af"/>'
    )


def _drawn(box: _Box) -> list[str]:
    fill, stroke, dashes = STYLES[box.node.kind]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    colour = "#ffffff" if box.node.kind == "task" else "#111827"
    lines = [
        f"<g><title>{_text(' | '.join(box.node.full))}</title>",
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height}" '
        f'rx="6" fill="{fill}" stroke="{stroke}" stroke-width="1.3"{dashed}/>',
    ]
    for number, line in enumerate(box.node.lines):
        y = box.y + PAD + 8 + number * LINE
        tone = colour if number == 0 or box.node.kind == "task" else "#4b5563"
        lines.append(
            f'<text x="{box.x + PAD:.1f}" y="{y:.1f}" fill="{tone}" xml:space="preserve">'
            f"{_text(line)}</text>"
        )
    return [*lines, "</g>"]


def _width(text: str) -> float:
    from unicodedata import east_asian_width

    return sum(WIDE if east_asian_width(c) in "WF" else CHARACTER for c in text)


def _text(text: str) -> str:
    from wasmos.system.caps.capmap import plain

    # What isn't printable isn't there any more; all that is can stand in XML.
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
