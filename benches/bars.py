"""Ratios drawn as bars, with the targets as marks."""

from curve import COLOURS, text

WIDTH, LEFT, ROW, TOP, RIGHT = 900, 330, 22, 48, 60
# Longer bars are cut, and their number says so.
MOST = 2.0


def draw(path, title, bars):
    """An SVG of bars: name, whom it is beside, ratio, target. 1.00 is a line."""
    height = TOP + ROW * len(bars) + 24
    x = lambda ratio: LEFT + min(ratio, MOST) / MOST * (WIDTH - LEFT - RIGHT)
    colours = {other: COLOURS[place % len(COLOURS)] for place, other in enumerate(sorted({bar[1] for bar in bars}))}
    parts = [text(WIDTH / 2, 16, title, "middle")]
    for place, (other, colour) in enumerate(colours.items()):
        parts.append(text(8 + place * 220, 36, f"beside {other}", colour=colour))
    for place, (name, other, ratio, target) in enumerate(bars):
        y = TOP + place * ROW
        parts.append(text(LEFT - 8, y + 14, name, "end"))
        size = f'width="{x(ratio) - LEFT:.1f}" height="{ROW - 8}"'
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" {size} fill="{colours[other]}"/>')
        parts.append(text(x(ratio) + 6, y + 14, f"{ratio:.2f}"))
        if target is not None:
            parts.append(f'<path d="M{x(target):.1f} {y + 1}v{ROW - 4}" stroke="#24292f" stroke-width="3"/>')
    parts.append(f'<path d="M{x(1):.1f} {TOP}V{height - 20}" stroke="#57606a" stroke-dasharray="4"/>')
    parts.append(text(x(1), height - 6, "1.00", "middle"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')
