"""Draws what each method gains over source-only: dots for seeds, a bar for the mean and its standard error.

Usage: plot.py OUT.svg TITLE=compare.csv [TITLE=compare.csv ...]
The CSV files are those of `coordinator compare --format csv` with the source-only runs as reference. Standard library alone.
"""

import csv
import sys
from html import escape

NAMES = {"content": "unchanged styles", "oracle": "oracle styles", "poda": "PØDA, four models", "joint": "PØDA, one model",
         "rectified": "… with rectifier", "ulda": "… with losses: ULDA",
         "ulda-1": "ULDA, setting (1)", "ulda-2": "ULDA, setting (2)"}
COLUMN = "mean of targets"
ROW, TOP, LEFT, PLOT, GAP = 34, 46, 190, 300, 30


def gains(path):
    """{method: (gains of the seeds, mean, standard error)} in percent points, in the order of the file."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == COLUMN and row["miou"]]
    reference = next(row["reference"] for row in rows if row["row"] == "difference")
    seeds = {(row["method"], row["seed"]): 100 * float(row["miou"]) for row in rows if row["row"] == "seed"}
    result = {}
    for row in rows:
        if row["row"] == "difference":
            own = [value - seeds[reference, seed] for (method, seed), value in seeds.items()
                   if method == row["method"] and (reference, seed) in seeds]
            result[row["method"]] = own, 100 * float(row["miou"]), 100 * float(row["spread"] or 0)
    return result


def main():
    out, panels = sys.argv[1], [argument.split("=", 1) for argument in sys.argv[2:]]
    data = [(title, gains(path)) for title, path in panels]
    methods = list(dict.fromkeys(method for _, found in data for method in found))
    every = [value for _, found in data for own, *_ in found.values() for value in own] + [0.0]
    low, high = min(every) - 0.4, max(every) + 0.4
    width, height = LEFT + len(data) * (PLOT + GAP), TOP + ROW * len(methods) + 44
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
             'font-family="system-ui, sans-serif" font-size="13" fill="#1c2024">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']

    def text(x, y, words, anchor="start", more=""):
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>')

    for row, method in enumerate(methods):
        text(LEFT - 12, TOP + ROW * row + ROW / 2 + 4, NAMES.get(method, method), "end")
    for panel, (title, found) in enumerate(data):
        start = LEFT + panel * (PLOT + GAP)
        place = lambda value: start + (value - low) / (high - low) * PLOT
        bottom = TOP + ROW * len(methods)
        text(start, 24, title, more='font-weight="600"')
        for tick in range(int(low) - 1, int(high) + 2):
            if low <= tick <= high:
                colour = "#5f6870" if tick == 0 else "#e2e0db"
                parts.append(f'<line x1="{place(tick):.1f}" x2="{place(tick):.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="{colour}"/>')
                text(place(tick), bottom + 18, f"{tick:+d}" if tick else "0", "middle", 'fill="#5f6870"')
        for row, method in enumerate(methods):
            if method in found:
                own, mean, error = found[method]
                y = TOP + ROW * row + ROW / 2
                for value in own:
                    parts.append(f'<circle cx="{place(value):.1f}" cy="{y:.1f}" r="3.5" fill="#2a6fdb" opacity="0.35"/>')
                parts.append(f'<line x1="{place(mean - error):.1f}" x2="{place(mean + error):.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                             'stroke="#d9622b" stroke-width="3"/>')
                parts.append(f'<circle cx="{place(mean):.1f}" cy="{y:.1f}" r="4.5" fill="#d9622b"/>')
    text(12, height - 8, "mIoU points above source-only: mean ± standard error, and the seeds",
         more='fill="#5f6870"')
    parts.append("</svg>")
    with open(out, "w") as file:
        file.write("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
