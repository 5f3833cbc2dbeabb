"""How long the page's concept graph takes to load and to move in headless Chromium, beside sigma and cytoscape.

    python benchmarks/graph_page.py --out docs/results/graph_page.md
    npm install --prefix /tmp/rival sigma@3.0.3 graphology@0.26.0 cytoscape@3.35.0
    python benchmarks/graph_page.py --rival /tmp/rival/node_modules --out docs/results/graph_page.md

Graphs are those of `graph_size.py`, four edges a node, with thumbnails of noise. Load: from the address to the first
whole drawing. A frame is the time between two callbacks of `requestAnimationFrame`, 16.7 ms at best, while the mouse
drags the graph to and fro for three seconds, and while it zooms in and out. The rivals get the same places, sizes and
colours; their edges are straight, their nodes circles without pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import graph_size
import numpy as np
from chromium import Chromium
from graph_size import Drawn, table
from PIL import Image

from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.report.figures import Figures
from conceptnet_ml.report.graph_layout import pack_columns
from conceptnet_ml.report.graph_view import TILE, GraphView
from conceptnet_ml.report.page import THUMBNAILS, graph_content
from conceptnet_ml.report.templates import templates

SIZES = (100, 1_000, 5_000)
SECONDS = 3.0
NOISE = np.random.default_rng(0)

PAGE = """<!doctype html><meta charset="utf-8"><title>graph</title><link rel="icon" href="data:,">
<style>{% include "page.css" %}{% include "graph.css" %}</style><h2 id="graph">graph</h2>{% include "graph.html" %}"""

RIVAL = """<!doctype html><meta charset="utf-8"><title>rival</title><link rel="icon" href="data:,">
<div id="live" style="width:1000px;height:640px"></div><script>%1</script>
<script type="application/json" id="d">%3</script><script>
const data = JSON.parse(document.getElementById("d").textContent), live = document.getElementById("live");
%2
</script>"""

SIGMA = """const graph = new graphology.MultiDirectedGraph();
for (const [id, x, y, size, color, label] of data.nodes) graph.addNode(id, { x, y, size, color, label });
for (const [from, to, size, color] of data.edges) graph.addEdge(from, to, { size, color });
const drawn = new Sigma(graph, live);
drawn.once("afterRender", () => requestAnimationFrame(() => { live.dataset.ready = Math.round(performance.now()); }));
drawn.refresh();"""

CYTOSCAPE = """const drawn = cytoscape({ container: live, layout: { name: "preset" }, textureOnViewport: true,
  autoungrabify: true, elements: [
  ...data.nodes.map(([id, x, y, size, color, label]) => ({ data: { id, size, color, label }, position: { x, y: -y } })),
  ...data.edges.map(([source, target, size, color]) => ({ data: { source, target, size, color } }))], style: [
  { selector: "node", style: { width: "data(size)", height: "data(size)", "background-color": "data(color)" } },
  { selector: "edge", style: { width: "data(size)", "line-color": "data(color)", "curve-style": "haystack" } }] });
drawn.ready(() => requestAnimationFrame(() => requestAnimationFrame(() => {
  live.dataset.ready = Math.round(performance.now()); })));"""

RIVALS = {
    "sigma": (SIGMA, "graphology/dist/graphology.umd.min.js", "sigma/dist/sigma.min.js"),
    "cytoscape": (CYTOSCAPE, "cytoscape/dist/cytoscape.min.js", "cytoscape/dist/cytoscape.min.js"),
}
"""The script, and the files of the library."""

START = """window.frames_ = []; (() => { let last = 0; const step = (now) => { if (last) frames_.push(now - last);
  last = now; window.going = requestAnimationFrame(step); }; requestAnimationFrame(step); })()"""
STOP = "cancelAnimationFrame(window.going); window.frames_"


class Pictured(GraphView):
    """With thumbnails that no run drew."""

    def _thumb(self, node: Node) -> Image.Image | None:
        return Image.fromarray(NOISE.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((TILE, TILE))


def own_page(graph: ConceptGraph) -> tuple[str, float]:
    """The page, and the seconds that its making took."""
    start = time.perf_counter()
    view = Pictured(graph, Figures(Path(), THUMBNAILS))
    text = templates().from_string(PAGE).render(graph=graph_content(view), described=set())
    return text, time.perf_counter() - start


def rival_page(graph: ConceptGraph, modules: Path, name: str) -> str:
    """The same graph, drawn by another."""
    script, *libraries = RIVALS[name]
    view = GraphView(graph, Figures(Path()))
    packed = pack_columns(view.columns, {node.id: 50.0 for node in graph.nodes()})
    nodes = [
        [node.id, place.x, -place.y, 2 + 6 * view.size[node.id], "#5c616b", view.graph.node(node.id).title]
        for node in graph.nodes()
        for place in [packed.places[node.id]]
    ]
    edges = [
        [edge.source, edge.target, 1, "#2f6fb5" if (edge.strength or 0) > 0 else "#b02a24"] for edge in graph.edges()
    ]
    texts = dict.fromkeys((modules / one).read_text(encoding="utf-8") for one in libraries)
    parts = {
        "%1": "\n".join(texts),
        "%2": script,
        "%3": json.dumps({"nodes": nodes, "edges": edges}).replace("<", "\\u003c"),
    }
    return re.sub(r"%[123]", lambda found: parts[found[0]], RIVAL)


def moved(browser: Chromium, zooming: bool) -> dict[str, float]:
    """Milliseconds between frames while the graph is dragged or zoomed: the median, the 95th of 100, the longest."""
    left, top, width, height = browser.run(
        "(() => { const it = document.querySelector('canvas:last-of-type') || document.querySelector('canvas');"
        " document.querySelector('#live').scrollIntoView(); const r = it.getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()"
    )
    x, y = left + width / 2, top + height / 2
    time.sleep(1.0)
    browser.run(START)
    if not zooming:
        browser.mouse("Moved", x, y)
        browser.mouse("Pressed", x, y)
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number += 1
        if zooming:
            browser.mouse("Wheel", x, y, deltaX=0, deltaY=-40 if number // 25 % 2 else 40, modifiers=2)
        else:
            browser.mouse("Moved", x + 8 * (number % 40), y + 4 * (number % 40), buttons=1)
        time.sleep(0.012)
    frames, start = browser.run(STOP), time.monotonic()
    if zooming and browser.run("Boolean(document.querySelector('#live canvas.base'))"):
        browser.wait("document.querySelector('#live').dataset.settled")
        settled = {"sharp after": 1000 * (time.monotonic() - start)}
    else:
        settled = {}
    if not zooming:
        browser.mouse("Released", x, y)
    return {
        "median": float(np.median(frames)),
        "95 %": float(np.percentile(frames, 95)),
        "longest": float(max(frames)),
        **settled,
    }


def measure(path: Path, address: str = "", flags: tuple[str, ...] = ()) -> dict[str, float]:
    """A page's load, and its frames while it moves. Raises RuntimeError where the page complains."""
    with Chromium(flags=flags) as browser:
        browser.open(path.as_uri() + address)
        browser.wait("document.querySelector('#live').dataset.ready", 120)
        found = {"load": float(browser.run("document.querySelector('#live').dataset.ready"))}
        for words, zooming in (("drag", False), ("zoom", True)):
            found |= {f"{words}, {name}": value for name, value in moved(browser, zooming).items()}
        if any("WebGL" not in one and "GPU" not in one for one in browser.complaints):
            raise RuntimeError(browser.complaints[0])
        found["version"] = browser.send("Browser.getVersion")["product"]
    return found


def main() -> None:
    """Measure every size, print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rival", type=Path, help="node_modules with sigma, graphology and cytoscape")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in options.sizes:
            graph_size.STAGES = 12 if count >= 1_000 else 3  # fewer nodes do not fill twelve
            graph = ConceptGraph.from_plain(Drawn(count).plain())
            what = f"{len(graph):,} nodes, {len(graph.edges()):,} edges"
            text, seconds = own_page(graph)
            page = folder / "page.html"
            page.write_text(text, encoding="utf-8")
            size = {"made in": 1000 * seconds, "MB": len(text.encode()) / 1e6}
            results[f"{what}: as it opens"] = {**size, **measure(page)}
            results[f"{what}: all"] = {**size, **measure(page, "#show=1&more=1")}
            for rival in RIVALS if options.rival else ():
                page.write_text(rival_page(graph, options.rival, rival), encoding="utf-8")
                size = {"MB": page.stat().st_size / 1e6}
                results[f"{what}: {rival}"] = {**size, **measure(page, flags=("--enable-unsafe-swiftshader",))}
            print(f"{what} measured", file=sys.stderr)
    text = page_of(results)
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


def _processor() -> str:
    """The processor's name, where the system tells."""
    found = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    return found[1] if found else platform.machine()


def page_of(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a page."""
    names = [name for name in next(iter(results.values())) if name != "version"]
    rows = {what: [f"{found[name]:.1f}" if name in found else "–" for name in names] for what, found in results.items()}
    version = next(iter(results.values()))["version"]
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    return "\n".join(
        [
            "# The concept graph in a browser",
            "",
            "Written by `python benchmarks/graph_page.py --rival NODE_MODULES --out docs/results/graph_page.md`, with",
            f"{version}, headless, without a GPU, on {_processor()}, commit {commit}.",
            f"Load of the machine's {os.cpu_count()} cores: {os.getloadavg()[0]:.1f} processes at the end.",
            "",
            "Milliseconds, and MB of the page. Frames are 16.7 ms at best. *As it opens*: pruned to 80 % of all",
            "influence; *all*: every node and edge. *sigma* is 3.0.3, WebGL in software; *cytoscape* is 3.35.0,",
            "a canvas moved as a texture; both with every node and edge.",
            "*Sharp after*: from the last zoom to the whole drawing; until then the last one is moved as a picture.",
            "",
            *table(["", *names], rows),
        ]
    )


if __name__ == "__main__":
    main()
