"""A number over time: a metric that is sampled, and lines drawn as a picture."""

import html
import re
import threading
import time
import urllib.request

WIDTH, HEIGHT, MARGIN = 900, 320, 48
COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#1a7f37")
# Seconds between two looks.
PAUSE = 0.05


class Sampler:
    """Reads a metric again and again until it is left; of who has none, it sees nothing."""

    def __init__(self, port, metric):
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.line = re.compile(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", re.MULTILINE)
        self.seen = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look) if port else None

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        if self.thread:
            self.thread.join()

    def look(self):
        """Until it is over."""
        while not self.over.wait(PAUSE):
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    found = self.line.search(answer.read().decode())
            except OSError:
                # A gap in the line.
                continue
            if found:
                self.seen.append((time.time(), float(found[1])))


def draw(path, title, lines, marks, end):
    """An SVG of lines, by name, of numbers that hold from their second on; `marks` are what happened."""
    top = max((value for points in lines.values() for _, value in points), default=1)
    x = lambda when: MARGIN + when / end * (WIDTH - 2 * MARGIN)
    y = lambda value: HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN)
    parts = [text(WIDTH / 2, 16, title, "middle")]
    for value in sorted({0, round(top / 2), round(top)}):
        parts.append(f'<path d="M{MARGIN} {y(value):.1f}H{WIDTH - MARGIN}" stroke="#d0d7de"/>')
        parts.append(text(MARGIN - 6, y(value) + 4, value, "end"))
    for when in range(0, int(end) + 1, 10):
        parts.append(text(x(when), HEIGHT - MARGIN + 16, f"{when} s", "middle"))
    for when, what in marks.items():
        parts.append(f'<path d="M{x(when):.1f} {MARGIN}V{HEIGHT - MARGIN}" stroke="#57606a" stroke-dasharray="4"/>')
        parts.append(text(x(when) + 4, MARGIN - 4, what))
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        steps = "".join(f"H{x(when):.1f}V{y(value):.1f}" for when, value in points)
        parts.append(f'<path d="M{MARGIN} {y(0):.1f}{steps}" fill="none" stroke="{colour}"/>')
        parts.append(text(MARGIN + number * 270, HEIGHT - 8, name, colour=colour))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


def text(x, y, said, anchor="start", colour="#24292f"):
    """One label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{html.escape(str(said))}</text>'
