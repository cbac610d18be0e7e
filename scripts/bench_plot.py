"""Draws the pictures of docs/performance.md and docs/scale.md from the results of benchmarks: plain SVG, for light and dark pages."""


def draw(results, folder):
    pass
