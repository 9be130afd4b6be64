"""Draws panels of the dashboard by asking Prometheus: pictures.py URL BEGIN END DIRECTORY. pictures.sh runs it."""

import json
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

DASHBOARD = Path(__file__).parents[1] / "charts/dask-operator/files/dashboard.json"
# The panels of each picture, by title.
PICTURES = {
    "dashboard-dask": ["Clusters by phase", "Workers", "Longest wait", "Passes", "Requests by verb", "Memory"],
    "dashboard-plugins": [
        "Subjects by state",
        "Failing subjects by reason",
        "Calls by outcome",
        "Duration of calls, 99 %",
        "Children",
        "Children written",
    ],
}
VARIABLES = {"$__rate_interval": "10s", "$namespace": ".*", "$job": ".*"}
MOST_SERIES = 7
COLOURS = ["#3b7a57", "#c8553d", "#2f5d8a", "#d19c1d", "#7a4b94", "#4aa3a2", "#8a8a8a"]


def ask(url, expression, begin, end):
    """Returns the series of an expression, as Grafana asks for them."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression, "start": begin, "end": end, "step": 2})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{query}") as answer:
        return json.load(answer)["data"]["result"]


def draw(axes, panel, series, begin):
    """Draws one panel as Grafana does by default: lines, and the legend below."""
    axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
    unit = panel["fieldConfig"]["defaults"].get("unit")
    scale, unit = (1 / 2**20, "MiB") if unit == "bytes" else (1, {"s": "seconds", "reqps": "a second", "ops": "a second"}.get(unit, ""))
    legend = panel["targets"][0]["legendFormat"]
    ranked = sorted(series, key=lambda one: -max(float(value) for _, value in one["values"]))[:MOST_SERIES]
    named = [(re.sub(r"{{(\w+)}}", lambda label: one["metric"].get(label[1], ""), legend), one) for one in ranked]
    for colour, (name, one) in zip(COLOURS, sorted(named, key=lambda pair: pair[0])):
        points = [(time - begin, float(value) * scale) for time, value in one["values"]]
        times, values = zip(*points)
        axes.plot(times, values, color=colour, linewidth=1.2, label=name)
        axes.fill_between(times, values, color=colour, alpha=0.08, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2, fontsize=6.5, frameon=False)


def main():
    url, begin, end, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    panels = {panel["title"]: panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel.get("targets")}
    # Without these the file would contain random ids.
    plt.rcParams.update({"svg.hashsalt": "dask-operator", "svg.fonttype": "none", "font.family": "sans-serif"})
    for name, titles in PICTURES.items():
        figure, grid = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
        for axes, title in zip(grid.flat, titles, strict=True):
            series = ask(url, panels[title]["targets"][0]["expr"], begin, end)
            if not series:
                sys.exit(f"pictures.py: nothing to draw for {title}")
            draw(axes, panels[title], series, begin)
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")


if __name__ == "__main__":
    main()
