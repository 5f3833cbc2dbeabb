"""The page's graph in a headless Chromium: what a reader does, without an error or a request."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from chromium import INSTALL, PROGRAM, Chromium
from made_run import make_run
from PIL import Image

from conceptnet_ml import write_page
from conceptnet_ml.graph.concept_graph import ConceptGraph

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=INSTALL)

EVIL = "</script><script>console.error('it ran')</script><img src=x onerror=\"console.error('it ran')\">"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("made") / "run")
    graph = ConceptGraph.read(run)
    for node in graph.nodes("unit"):
        graph.update_node(node.id, name=EVIL, note=EVIL)
    (run / "graph.json").write_text(graph.to_json(), encoding="utf-8")
    return write_page(run)


@pytest.fixture(scope="module")
def graph(page: Path) -> ConceptGraph:
    return ConceptGraph.read(page.parent)


@pytest.fixture(params=["desktop", "phone"])
def browser(request: pytest.FixtureRequest) -> Iterator[Chromium]:
    phone = request.param == "phone"
    with Chromium(*((390, 844) if phone else (1280, 900)), phone=phone, dark=phone) as started:
        yield started
        assert started.complaints == []


@pytest.fixture
def desktop() -> Iterator[Chromium]:
    with Chromium() as started:
        yield started
        assert started.complaints == []


def go(browser: Chromium, page: Path, address: str = "") -> None:
    browser.open("about:blank")
    browser.open(page.as_uri() + address)
    settle(browser)


def settle(browser: Chromium) -> None:
    browser.wait("document.querySelector('#live').dataset.settled")


def press(browser: Chromium, name: str) -> None:
    browser.run(f"document.querySelector('#live [name={name}]').click()")
    settle(browser)


def put(browser: Chromium, name: str, value: str, event: str = "change") -> None:
    script = f"(() => {{ const field = document.querySelector('#live [name={name}]'); field.value = {value!r};"
    browser.run(script + f" field.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()")
    settle(browser)


def words(browser: Chromium, part: str) -> str:
    return str(browser.run(f"document.querySelector('#live {part}').innerText"))


def state(browser: Chromium) -> dict[str, str]:
    """What the address holds, once it is written."""
    browser.wait("new Promise(done => setTimeout(() => done(true), 400))")
    return {name: value[0] for name, value in parse_qs(browser.run("location.hash.slice(1)")).items()}


def middle(browser: Chromium) -> tuple[float, float]:
    left, top, width, height = browser.run(
        "(() => { document.querySelector('.sheet').scrollIntoView({block: 'center'});"
        " const r = document.querySelector('canvas.base').getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()"
    )
    return left + width / 2, top + height / 2


def dots(picture: Path) -> int:
    """Colours in a picture; one that shows nothing has very few."""
    return len(Image.open(picture).convert("RGB").resize((300, 300)).getcolors(90_000) or ())


def dots_of(data: str) -> int:
    picture = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
    return len(picture.convert("RGB").resize((300, 300)).getcolors(90_000) or ())


def test_bars_of_all_networks_have_one_scale(browser: Chromium, page: Path) -> None:
    browser.open(page)
    tracks = browser.run("[...document.querySelectorAll('.cell .bar')].map(one => one.getBoundingClientRect().width)")
    assert len(tracks) == 9
    assert len(set(tracks)) == 1


def test_a_reader_follows_an_address_clicks_and_closes(
    browser: Chromium, page: Path, graph: ConceptGraph, tmp_path: Path
) -> None:
    feature = graph.nodes("feature")[0]
    go(browser, page, f"#node={feature.id}")
    assert feature.id in words(browser, "aside")
    assert "What rests on it (1)" in words(browser, "aside")
    assert str(feature.effect).rstrip("0").rstrip(".") in words(browser, "aside dl")
    browser.run("document.querySelector('aside button[aria-label=close]').click()")
    settle(browser)
    assert browser.run("document.querySelector('aside').hidden")
    assert "node" not in state(browser) or not state(browser)["node"]
    go(browser, page, f"#node={feature.id}")
    browser.run("document.querySelector('aside button[aria-label=close]').click()")
    settle(browser)
    browser.click(*middle(browser))
    browser.wait("!document.querySelector('aside').hidden")
    assert state(browser)["node"] == feature.id, "the node in the middle"
    settle(browser)
    assert dots(browser.screenshot(tmp_path / "page.png")) > 50
    wide = browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0, "nothing stands over the edge of the page"


def test_filters_search_and_pins_are_in_the_address_and_come_back(
    browser: Chromium, page: Path, graph: ConceptGraph
) -> None:
    go(browser, page)
    assert state(browser) == {}, "a page that was only opened keeps its address"
    press(browser, "all")
    assert f"{len(graph)} of {len(graph)} nodes" in words(browser, ".state")
    put(browser, "kind", "unit")
    assert f"2 of {len(graph)} nodes" in words(browser, ".state")
    put(browser, "kind", "")
    put(browser, "class", "car")
    assert int(words(browser, ".state").split()[0]) < len(graph)
    put(browser, "stage", "top")
    put(browser, "weight", "40", "input")
    put(browser, "q", "makes", "input")
    assert browser.run("document.querySelectorAll('#live .found button').length") == 2
    browser.run("document.querySelector('#live .found button').click()")
    settle(browser)
    press(browser, "pin")
    kept, said = state(browser), words(browser, ".state")
    assert {"show": "1", "class": "car", "stage": "top", "weight": "0.4", "q": "makes"}.items() <= kept.items()
    assert kept["pin"] == kept["node"] != ""
    assert "pinned to What makes" in said
    address = browser.run("location.hash")
    go(browser, page, address)
    assert (words(browser, ".state"), state(browser)) == (said, kept)
    press(browser, "reset")
    assert "pinned" not in words(browser, ".state")


def test_on_a_phone_all_of_it_opens_in_view(browser: Chromium, page: Path) -> None:
    """As Fit shows it; before, the left half lay outside."""
    drawn = "document.querySelector('canvas.base').toDataURL()"
    go(browser, page)
    if browser.phone:
        assert "Whole window" not in words(browser, ".state")
    opened = browser.run(drawn)
    press(browser, "out")
    assert browser.run(drawn) != opened
    press(browser, "fit")
    assert browser.run(drawn) == opened
    assert dots_of(opened) > 30


@pytest.mark.parametrize("address", ["#node=nonsense", "#node-nonsense", "#pin=nonsense&class=car"])
def test_what_is_not_there_is_said_and_the_whole_graph_shown(
    desktop: Chromium, page: Path, graph: ConceptGraph, address: str
) -> None:
    go(desktop, page, address)
    assert "“nonsense”" in words(desktop, ".missed")
    assert f"{len(graph)} of {len(graph)} nodes" in words(desktop, ".state")
    press(desktop, "all")
    assert desktop.run("document.querySelector('#live .missed').hidden"), "it is done with"
    go(desktop, page, f"#node={graph.nodes('feature')[0].id}")
    assert desktop.run("document.querySelector('#live .missed').hidden")
    go(desktop, page, "#accuracy")
    assert desktop.run("document.querySelector('#live .missed').hidden")


def test_names_with_markup_are_shown_and_do_nothing(desktop: Chromium, page: Path, graph: ConceptGraph) -> None:
    unit = graph.nodes("unit")[0]
    go(desktop, page, f"#node={unit.id}")
    assert EVIL in words(desktop, "aside h3")
    x, y = middle(desktop)
    desktop.mouse("Moved", x, y)
    desktop.wait("!document.querySelector('#live .tip').hidden")
    assert EVIL in words(desktop, ".tip")
    assert desktop.run("document.querySelectorAll('script').length") == 2
    for address in (
        "#node=%",
        "#at=1,2,NaN&show=x&kind=%3Cb%3E",
        "#node=nothing&pin=no,,no",
        "#class=__proto__",
        "#%E0%A4",
    ):
        go(desktop, page, address)


def test_an_address_in_the_page_leads_to_its_node(desktop: Chromium, page: Path, graph: ConceptGraph) -> None:
    feature = graph.nodes("feature")[0]
    go(desktop, page)
    desktop.run(f"document.querySelector('a[href=\"#node-{feature.id}\"]').click()")
    desktop.wait(f"document.querySelector('aside').dataset.node === '{feature.id}'")


def test_it_is_saved_as_picture_drawing_and_data(
    desktop: Chromium, page: Path, graph: ConceptGraph, tmp_path: Path
) -> None:
    desktop.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    go(desktop, page, "#show=1")
    for kind in ("png", "svg", "json"):
        press(desktop, kind)
        for _ in range(100):
            if (tmp_path / f"graph.{kind}").exists():
                break
            desktop.wait("new Promise(done => setTimeout(() => done(true), 50))")
    assert dots(tmp_path / "graph.png") > 50
    found: dict[str, Any] = json.loads((tmp_path / "graph.json").read_text(encoding="utf-8"))
    assert {node["id"] for node in found["nodes"]} == {node.id for node in graph.nodes()}
    assert len(found["edges"]) == len(graph.edges())
    drawing = (tmp_path / "graph.svg").read_text(encoding="utf-8")
    assert drawing.count("<title>") == len(graph)
    assert "&lt;/script&gt;" in drawing


def test_on_paper_and_without_a_canvas_the_drawing_stays(desktop: Chromium, page: Path) -> None:
    seen = "['.live', '.still'].map(one => getComputedStyle(document.querySelector(one)).display)"
    go(desktop, page)
    assert desktop.run(seen) == ["block", "none"]
    desktop.send("Emulation.setEmulatedMedia", media="print")
    assert desktop.run(seen) == ["none", "block"]
    desktop.send("Emulation.setEmulatedMedia", media="screen")
    gone = "HTMLCanvasElement.prototype.getContext = () => null"
    desktop.send("Page.addScriptToEvaluateOnNewDocument", source=gone)
    desktop.open("about:blank")
    desktop.open(page)
    assert desktop.run(seen) == ["none", "block"]


def test_a_page_that_complains_is_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://example.com/x.png"><script>console.error("oh"); undefined.x</script>')
    with Chromium() as browser:
        browser.open(bad)
        browser.wait("true")
        assert len(browser.complaints) >= 3


def test_a_graph_that_is_a_little_too_wide_opens_whole_in_narrower_boxes(desktop: Chromium, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    graph = ConceptGraph(
        ("car", "dog"), [(f"stage{number}", 8) for number in range(7)], network="9f", settings="03", seed=0
    )
    graph.add_node("class", "dog", classes=["dog"])
    above = graph.add_node("class", "car", classes=["car"])
    for number in range(6, -1, -1):
        node = graph.add_node("unit", f"unit {number}", stage=f"stage{number}", units=[number])
        graph.add_edge("built_from", above, node, weight=1.0)
        above = node
    (run / "graph.json").write_text(graph.to_json(), encoding="utf-8")
    go(desktop, write_page(run))
    assert "More lies" not in words(desktop, ".state")
    opened = desktop.run("document.querySelector('canvas.base').toDataURL()")
    press(desktop, "fit")
    assert desktop.run("document.querySelector('canvas.base').toDataURL()") == opened
    zoom = float(state(desktop)["at"].split(",")[2])
    assert 9 / 13 <= zoom < 0.8, "letters of 13 have 9 px or more"
    press(desktop, "png")
    assert "More lies" not in words(desktop, ".state"), "saved with wide boxes, shown with narrow ones"
