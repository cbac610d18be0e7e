"""Draws the pictures of docs/performance.md from the results of benchmarks: plain SVG, for light and dark pages.

A picture without results stays as it is."""

import math
from html import escape

STYLE = """<style>
  rect.page { fill: #ffffff } text { fill: #24292f; font: 13px sans-serif } .title { font-weight: bold } .small { font-size: 11px }
  .grid { stroke: #d0d7de } .ours { fill: #0969da; stroke: #0969da } .other { fill: #8c959f; stroke: #8c959f } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 } .c2 { stroke: #1a7f37; fill: #1a7f37 }
  .c3 { stroke: #8250df; fill: #8250df } .c4 { stroke: #9a6700; fill: #9a6700 } .c5 { stroke: #bf3989; fill: #bf3989 }
  .c6 { stroke: #57606a; fill: #57606a }
  @media (prefers-color-scheme: dark) {
    rect.page { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .ours { fill: #4493f8; stroke: #4493f8 }
    .c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #f0883e; fill: #f0883e } .c2 { stroke: #3fb950; fill: #3fb950 }
    .c3 { stroke: #ab7df8; fill: #ab7df8 } .c4 { stroke: #d29922; fill: #d29922 } .c5 { stroke: #f778ba; fill: #f778ba }
    .c6 { stroke: #9198a1; fill: #9198a1 }
  }
  path.line { fill: none }
</style>"""

# Program names, as bench-agents records them, and the panels: group, column, unit, title.
PROGRAMS = ["nephometer", "prometheus-libvirt-exporter", "collectd virt", "collectd virt, all statistics", "ceilometer-polling 27.0.0"]
PANELS = [
    ("agents, 20 domains", "CPU per cycle", "s", "CPU per polling cycle, 20 domains"),
    ("agents, 100 domains", "CPU per cycle", "s", "CPU per polling cycle, 100 domains"),
    ("agents, 20 domains", "proportional", "MB", "Memory (PSS), 20 domains"),
    ("agents, 20 domains", "start to end of first cycle", "s", "Start to the end of the first cycle, 20 domains"),
]


def page(width, height, parts, title):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, f'<rect class="page" width="{width}" height="{height}"/>', *parts, "</svg>", ""])


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def bars(results):
    """One panel of horizontal bars for each figure that was measured."""
    parts, y = [], 28
    for group, column, unit, title in PANELS:
        values = [(name, results[f"{group}/{name}/{column}"]["value"]) for name in PROGRAMS if f"{group}/{name}/{column}" in results]
        if not values:
            continue
        parts.append(text(16, y, title, "title"))
        most = max(value for _, value in values)
        for name, value in values:
            y += 22
            kind = "ours" if name == "nephometer" else "other"
            parts.append(text(200, y, name, "small", "end"))
            parts.append(f'<rect class="{kind}" x="208" y="{y - 11}" width="{max(1, value / most * 400):.1f}" height="14"/>')
            parts.append(text(216 + value / most * 400, y, f"{short(value)} {unit}", "small"))
        y += 38
    return page(700, y - 16, parts, "Nephometer beside other agents") if parts else None


def curves(results):
    """Wall time of bulk calls by number of domains, one line per group of statistics; both axes are logarithmic."""
    lines = {}
    for figure, row in results.items():
        group, name, column = figure.split("/")
        if group == "libvirt groups":
            lines.setdefault(column, []).append((int(name.split()[0].replace(",", "")), row["value"]))
        if group == "libvirt slices, one stuck" and column == "slices of 25":
            lines.setdefault("all, one domain stuck", []).append((int(name.split()[0].replace(",", "")), row["value"]))
    points = [point for line in lines.values() for point in line]
    if not points:
        return None
    most = max(x for x, _ in points)
    low, high = (round_(math.log10(value)) for round_, value in ((math.floor, min(y for _, y in points)), (math.ceil, max(y for _, y in points))))
    left, top, width, height = 70, 50, 440, 300

    def place(x, y):
        return left + width * math.log10(x) / math.log10(most), top + height * (high - math.log10(y)) / (high - low)

    parts = [text(16, 24, "libvirt's bulk statistics: wall time of a call by number of domains", "title")]
    for power in range(low, high + 1):
        x, y = place(1, 10.0**power)
        parts.append(f'<path class="grid" d="M{x:.0f} {y:.0f}h{width}"/>')
        parts.append(text(x - 8, y + 4, f"{10.0**power:g} ms", "small", "end"))
    for count in sorted({x for x, _ in points}):
        x, _ = place(count, 1)
        parts.append(f'<path class="grid" d="M{x:.0f} {top}v{height}"/>')
        # Labels of neighbours would overlap.
        if count in (1, 10, 50, 100, 200, most):
            parts.append(text(x, top + height + 18, str(count), "small", "middle"))
    label = top - 8
    for number, (name, line) in enumerate(sorted(lines.items(), key=lambda item: -max(y for _, y in item[1]))):
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*point) for point in sorted(line)))
        parts.append(f'<path class="line c{number % 7}" d="M{steps}"/>')
        label = max(label + 16, place(*max(line))[1] + 4)
        parts.append(text(left + width + 8, label, name, "small"))
        parts.append(f'<path class="line c{number % 7}" d="M{left + width} {place(*max(line))[1]:.1f}L{left + width + 6} {label - 4:.1f}"/>')
    parts.append(text(left + width / 2, top + height + 38, "paused domains", "small", "middle"))
    return page(700, top + height + 54, parts, "Wall time of libvirt's bulk statistics")


def draw(results, folder):
    for name, picture in (("performance-agents.svg", bars(results)), ("performance-libvirt.svg", curves(results))):
        if picture:
            (folder / name).write_text(picture, encoding="utf-8")
