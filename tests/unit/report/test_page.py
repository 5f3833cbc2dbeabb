"""The page of a run made by hand: it says everything, escapes everything, needs nothing, and is small."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_run import CLASSES, EVIL, concept_graph, make_run, picture, summary

from conceptnet_ml import DataError, write_page
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import FLAGS as SETTINGS_FLAGS
from conceptnet_ml.config.sources import command, resolve_settings
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.node_sheet import Example, node_strip
from conceptnet_ml.drawing.pictures import to_jpeg, to_png
from conceptnet_ml.drawing.sheets import Card
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called, round_called
from conceptnet_ml.graph.queries import strength
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.report.graph_view import GraphView
from conceptnet_ml.report.records import again, again_notes, changed_settings
from conceptnet_ml.report.rounds import _plain, _telling, round_cards
from conceptnet_ml.results.badges import _REFUSED, _UNDONE, decided, decision_line
from conceptnet_ml.results.summary import failing_words, tables, to_text
from conceptnet_ml.results.verdict import _beyond_chance, headline, remarks, verdict
from conceptnet_ml.storage.run_folder import round_picture
from conceptnet_ml.swap.stop_rule import USER

ROOT = Path(__file__).parents[3]
DECIDING = ("swap/stop_rule", "steps/channel_probe", "steps/generalize", "steps/family", "steps/target")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [found[name] for _, found in self.tags if name in found]


@pytest.fixture(scope="module")
def page(made: Path) -> Page:
    return Page(write_page(made, made.parent / "page.html"))


def test_it_says_everything(page: Page) -> None:
    for word in ("top/classes/1", "top/classes/2", "test", "worst group", "box", "low, unit 0", "car taken for"):
        assert word in page.text
    assert set(page.values("id")) >= {f"node-{node.id}" for node in concept_graph().nodes()}
    assert set(page.values("id")) >= {f"concept-{node.id}" for node in concept_graph().nodes()}
    assert "conceptnet-ml learn --data 'folder:my photos'" in page.text
    assert "--undo top/classes/1" in page.text
    assert "--keep top/classes/1/pixels:outside" in page.text


def test_a_kept_round_shows_its_features_before_and_after(page: Page) -> None:
    """In the round, in the verdict, and on the concepts' cards."""
    for words, times in (("it rose to 38.6", 5), ("it fell to 2.3", 5), ("23.7", 2), ("7.9", 2)):
        assert page.text.count(words) == times, words
    assert page.text.index("it rose to 38.6") < page.text.index("Rounds: what was exchanged")


def test_what_is_left_is_told_of_the_worst_and_the_best_round() -> None:
    found = summary()
    (kept,) = [entry for entry in found["rounds"] if entry["decision"] == "kept"]
    kept["r_after"] = 0.7
    assert "and 70\N{NO-BREAK SPACE}% of held-out images" in dict(verdict(found))["What it let go of"]
    found["rounds"] = [kept, {**kept, "name": "block3/classes/2", "r_after": 0.96}, *found["rounds"][1:]]
    assert (
        "and 70\N{NO-BREAK SPACE}% to 96\N{NO-BREAK SPACE}% of held-out images"
        in dict(verdict(found))["What it let go of"]
    )


def test_nothing_is_red_but_what_is_wrong_and_every_dream_says_its_seed(run: Path) -> None:
    """Hardly any dream is like a real image. Sheets of before have it in red."""
    node = concept_graph().nodes("class")[0]
    lines = ["seed 7 · 0.1 → 5", Caption("never rose", "wrong"), Caption("unlike the data: p < .01", "wrong")]
    for name in (node.id, concept_graph().nodes("generalized")[0].id):
        strip = node_strip("x", free=Card(picture(), lines=lines), examples=[Example("car", picture())] * 4)
        (run / f"pictures/nodes/{name}.jpg").write_bytes(to_jpeg(strip))
    text = write_page(run).read_text(encoding="utf-8")
    assert '<span class="plain">unlike the data: p &lt; .01</span>' in text
    assert '<span class="wrong">unlike' not in text
    assert '<span class="wrong">never rose</span>' in text
    assert text.count('<span class="plain">seed 7</span>') == 1, "below a small one, too"


def test_what_stands_below_a_dream_reads_without_the_fold(run: Path) -> None:
    node = concept_graph().nodes("generalized")[0]
    lines = ["seed 7 · 0.1 → 5", "3.0 × the best of 100 images", "seen: car 98 %", "within the data: p = .40"]
    strip = node_strip("x", free=Card(picture(), lines=lines), examples=[Example("car", picture())] * 4)
    (run / f"pictures/nodes/{node.id}.jpg").write_bytes(to_jpeg(strip))
    text = write_page(run).read_text(encoding="utf-8")
    said = ("answer 0.1 → 5, seed 7", "3.0 × the best of 100 real images", "another network sees: car 98 %")
    assert all(f'<span class="plain">{one}</span>' in text for one in said)
    fell = ["seed 7 · 5 → 5", Caption("never rose: its start is above 40 % of 100 images", "wrong")]
    strip = node_strip("x", free=Card(picture(), lines=fell), examples=[Example("car", picture())] * 4)
    (run / f"pictures/nodes/{node.id}.jpg").write_bytes(to_jpeg(strip))
    text = write_page(run).read_text(encoding="utf-8")
    said = re.sub(r'</span><span class="\w+">', " ", text)
    assert "never rose: its start is above 40 % of 100 real images" in said


def test_masks_are_said_in_plain_words_and_in_figures(tmp_path: Path) -> None:
    found = summary()
    detector, unit = {"coverage": [0.82, 0.56], "overlap": 0.5}, {"coverage": [0.97, 0.0], "overlap": 0.2}
    found["families"][0]["true_masks"] = {"parts": ["wheel", "curl"], "detector": detector, "best_unit": unit}
    card = round_cards(found, Figures(tmp_path))[0]
    said = " ".join(card["sentences"])
    assert (
        "finds 82\u00a0% of each wheel and 56\u00a0% of each curl (the best single unit: 97\u00a0% and 0\u00a0%)"
        in said
    )
    assert "recall" not in said
    assert any(
        line.startswith("mask recall: 82 % of wheel, 56 % of curl; ") and "overlap 0.50" in line
        for line in card["numbers"]
    )


def test_nothing_that_a_user_named_becomes_markup(page: Page) -> None:
    assert EVIL in page.text
    assert not page.values("onclick")
    assert [found for tag, found in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "graph-data"},
        {},
    ], "the page's own, and no other"


def test_it_needs_nothing_else(made: Path, page: Page) -> None:
    pictures = page.values("src")
    assert len(pictures) > 20
    assert all(source.startswith("data:image/webp;base64,") for source in pictures)
    links = page.values("href")
    assert all(link.startswith(("#", "data:")) for link in links)
    ids = set(page.values("id"))
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    written = (made.parent / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?://|url\(|@import", written)
    scripts = re.findall(r"<script.*?</script>", written, re.DOTALL)
    assert len(written) - sum(map(len, scripts)) < 340_000
    assert sum(map(len, scripts)) < 50_000


def test_pictures_that_are_gone_leave_a_page_that_says_so(run: Path) -> None:
    shutil.rmtree(run / "pictures")
    page = Page(write_page(run))
    assert not page.values("src")
    assert "pictures of the run are gone" in page.text
    assert "top/classes/1" in page.text


def test_a_budget_leaves_later_pictures_out(run: Path) -> None:
    figures = Figures(run, budget=9000)
    sheet = figures.sheet(f"pictures/{round_picture('top-classes-1')}")
    shown = [figures.cut(one, 128) for one in sheet.cuttings]
    assert shown[0] is not None
    assert figures.dropped == shown.count(None) > 0


def test_a_picture_of_before_is_shown_whole(run: Path) -> None:
    name = run / "pictures" / round_picture("top-classes-1")
    name.write_bytes(to_png(picture()))
    (only,) = Figures(run).sheet(f"pictures/{name.name}").cuttings
    assert (only.image.size, only.caption) == ((16, 16), ())


@pytest.mark.parametrize(
    ("missing", "words"), [("summary.json", "has no results yet"), ("graph.json", "has no concept graph yet")]
)
def test_a_run_that_is_not_finished_is_refused_with_the_way_on(run: Path, missing: str, words: str) -> None:
    (run / missing).unlink()
    with pytest.raises(DataError, match=words) as error:
        write_page(run)
    assert f"learn --resume {run}" in str(error.value)


def test_a_run_of_another_format_is_refused(run: Path) -> None:
    header = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps(header | {"version": 99}))
    with pytest.raises(DataError, match="format 99"):
        write_page(run)


def test_results_that_lack_something_are_refused(run: Path) -> None:
    found = json.loads((run / "summary.json").read_text())
    del found["rounds"][0]["representations"][0]["evidence"]
    (run / "summary.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"summary.json, of conceptnet_ml 0.1.0, lacks .*evidence"):
        write_page(run)


def test_it_can_be_written_elsewhere(run: Path, tmp_path: Path) -> None:
    assert write_page(run, tmp_path / "new" / "page.html").exists()
    assert not (run / "report.html").exists()
    with pytest.raises(DataError, match="is a folder"):
        write_page(run, tmp_path)


# ------------------------------------------------------------------------------------------------ sentences


def nothing_kept(found: dict[str, Any]) -> None:
    found["rounds"] = found["rounds"][1:]


def worse(found: dict[str, Any]) -> None:
    found["test_sets"] = {"test": found["test_sets"]["test"]}


def worse_for_sure(found: dict[str, Any]) -> None:
    worse(found)
    found["answers"]["sets"] = {"test": {"won": 0, "lost": 18}}


def counted(found: dict[str, Any]) -> None:
    found["answers"]["sets"] = {"test": {"won": 0, "lost": 18}, EVIL: {"won": 140, "lost": 0}}


def one_by_chance(found: dict[str, Any]) -> None:
    """Nine answers lost and two won, as on a set of 600 images: p = .065."""
    found["answers"]["sets"] = {"test": {"won": 2, "lost": 9}, EVIL: {"won": 140, "lost": 0}}


def uncounted(found: dict[str, Any]) -> None:
    worse(found)
    del found["answers"]


def by_hand(found: dict[str, Any]) -> None:
    found["rounds"][0]["overruled"] = ["colour: the user decided to undo it", "pixels: the user decided to keep it"]


def by_both(found: dict[str, Any]) -> None:
    """The user says what the rule says, and overrules it in another representation."""
    found["rounds"][0]["representations"][0]["evidence"] = USER
    found["rounds"][0]["overruled"] = ["colour: the user decided to undo it"]


def by_place(found: dict[str, Any]) -> None:
    """The kept round is of a place that the user named; that the network hung on it nobody said."""
    for entry in found["rounds"]:
        if entry["decision"] == "kept":
            entry["place"] = "bottom,right"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (worse_for_sure, ["worse on 1 of 1", "18 of 200 images; more than chance: 18 answers lost, 0 won"]),
        (uncounted, ["worse on 1 of 1", "18 of 200 images; more than chance; box"]),
        (
            by_hand,
            ["The rule refused round 1, top: kept by hand. On ", "controls, witness, dreams and pictures come on top"],
        ),
        (
            counted,
            ["better on 1 and worse on 1 of 2 test sets.", "lost 9 points on 'test'", "box, a control, is better"],
        ),
        (
            nothing_kept,
            [
                "Only 20 held-out images decided",
                "Nothing was taken away",
                "may well be one: 99\u00a0% are right on 'test'",
            ],
        ),
        (
            worse,
            [
                "any difference on the test set may be chance",
                "18 of 200 images; it may be chance: 1 answers lost, 4 won",
                "There is one test set",
            ],
        ),
        (one_by_chance, ["better on 1 of 2 test sets; on 1 it may be chance."]),
        (by_place, ["By the user's word bottom,right is exchanged: "]),
        (lambda found: None, ["any difference on all 2 test sets may be chance."]),
    ],
)
def test_the_verdict_is_honest(change: Callable[[dict[str, Any]], None], words: list[str]) -> None:
    found = summary()
    change(found)
    said = " ".join([headline(found), *(answer for _, answer in verdict(found)), *remarks(found)])
    for one in words:
        assert one in said


def test_the_verdict_says_in_plain_words_what_it_hung_on_and_what_to_do() -> None:
    found = summary()
    said = dict(verdict(found))
    assert re.match(r"Places that cover \d+\u00a0% of an image, in ", said["What the network hung on"])
    assert "Once these are taken from a picture of another class, " in said["What the network hung on"]
    assert "Nothing was taken away there." in said["What it let go of"]
    worse(found)
    found["test_sets"]["test"]["learned"]["accuracy"] = 0.95
    found["answers"]["sets"] = {"test": {"won": 0, "lost": 8}}
    said = dict(verdict(found))
    assert said["What to do next"].startswith(
        "No test set speaks for the learned network, and 'test' against it: undo the round, or exchange the other side"
    )
    probe = found["rounds"][0]["representations"][0]
    found["rounds"][0]["chosen"] = probe["representation"] = "colour"
    probe |= {"gate": "whole", "price": 1.0}
    said = dict(verdict(found))
    assert said["What the network hung on"].startswith("Colour, of the whole image, in ")
    assert "the other side" not in said["What to do next"], "the whole image has none"


def test_where_nothing_is_kept_the_page_says_why_and_what_errors_may_hide(run: Path) -> None:
    found = summary()
    nothing_kept(found)
    found["test_sets"] = {"test": found["test_sets"]["test"]}
    assert "Here errors may" not in dict(verdict(found))["What the network hung on"], "one answer in a hundred is wrong"
    found["test_sets"]["test"]["ordinary"]["accuracy"] = found["test_sets"]["test"]["learned"]["accuracy"] = 0.65
    found["rounds"][0]["sureness"] = sure(1.0)
    found["images"]["held_out"] = 200
    (run / "summary.json").write_text(json.dumps(found))
    text = " ".join(Page(write_page(run)).text.split())
    assert "Here errors may: 35 % of the answers on 'test' are wrong, and errors count against an exchange." in text
    top = text[: text.index("Accuracy on every test set")]
    assert f"Round 2, top: {decided(found['rounds'][0])} (the rule's words; sure, had other images" in top
    assert "Rounds: what was tried" in text


def test_what_only_experts_read_is_behind_a_fold(run: Path) -> None:
    found = summary()
    found["images"]["held_out"] = 200
    for entry in found["rounds"]:
        entry["sureness"] = sure(1.0)
        entry["representations"][0]["reason"] += "; moves the carrying channels with AUROC 0.71"
    (run / "summary.json").write_text(json.dumps(found))
    text = write_page(run).read_text(encoding="utf-8")
    shown = re.sub(
        r"<details>.*?</details>", "", text[text.index('id="rounds"') : text.index('id="concepts"')], flags=re.S
    )
    assert "with other held-out images it would have been decided the same in 100 of 100 draws" in shown
    for words in ("ι less errors", "AUROC", "mean over real images"):
        assert words in text
        assert words not in shown, words
    assert "<i>Answer</i>: how strongly" in text[: text.index('id="accuracy"')], "beside the first dreams"
    assert "Below a dream: how strongly" in text[text.index('id="concepts"') :]


def test_a_gates_share_is_said_in_plain_words() -> None:
    assert _plain(Caption("13% open")).text == "13\u00a0% of it"
    assert _plain(Caption("seen: car", "right")) == Caption("seen: car", "right")


def sure(agree: float, **changes: Any) -> dict[str, Any]:
    """The sureness of a decision, as a summary has it."""
    figures = {"figure": "ι less errors", "value": 0.51, "low": 0.46, "high": 0.56, "least": 0.53, "images": 300}
    return {**figures, "agree": agree, "of": "pixels", **changes}


@pytest.mark.parametrize(
    ("agree", "words"),
    [
        (
            1.0,
            "Sure: 100 of 100 draws of other held-out images decide the same (pixels: ι less errors 0.51 [0.46, 0.56]",
        ),
        (0.9, "Likely: 90 of 100 draws"),
        (0.7, "Close call: other held-out images would have decided otherwise in 30 of 100 draws"),
    ],
)
def test_a_round_says_how_sure_it_is(agree: float, words: str, run: Path) -> None:
    found = summary()
    found["images"]["held_out"] = 200
    for entry in found["rounds"]:
        entry["sureness"] = entry["representations"][0]["sureness"] = sure(agree)
    found["rounds"][0]["r_sureness"] = sure(1.0, figure="r")
    (run / "summary.json").write_text(json.dumps(found))
    said = Page(write_page(run)).text
    assert said.count(words) == 2
    assert "after training: sure, 100 of 100 draws: r 0.51 [0.46, 0.56], 0.53 asked" in said
    assert "not about seeds, other trainings or processors, nor about another world" in said
    assert ("--undo top/classes/1 decides it by hand" in said) == (agree < 0.8)
    assert ("--keep top/classes/2/pixels decides it by hand" in said) == (agree < 0.8)
    assert said.count(" --keep top/classes/2/pixels") == 2 * (agree < 0.8), "in the round and among the commands"
    close = "Round 2, top is a close call: other held-out images would have decided otherwise in 30 of 100 draws."
    assert (close in dict(verdict(found))["Why believe it"]) == (agree < 0.8)


def test_a_run_of_before_says_nothing_of_it(page: Page) -> None:
    assert "of the whole class" not in page.text
    assert "100 draws" not in page.text
    assert "How sure:" not in page.text


def test_who_says_what_the_rule_says_overrules_nothing() -> None:
    found = summary()
    by_both(found)
    assert "by hand" not in " ".join(answer for _, answer in verdict(found))


def test_the_verdict_shows_swaps_that_changed_the_answer() -> None:
    def row(number: int, before: str, after: str) -> list[Figure | None]:
        seen = [Figure(str(number), 1, 1, "", (Caption(f"seen: {one}", "wrong"),)) for one in (before, after)]
        return [seen[0], Figure("donor", 1, 1, "", (Caption("dog"),)), seen[1], None]

    same, first, again = row(0, "car", "car"), row(1, "car", "dog"), row(2, "dog", "car")
    assert _telling([same, first, same, again, same]) == {"telling": [first, again], "changed": True}
    assert _telling([same, first]) == {"telling": [first], "changed": True}
    assert _telling([same, same]) == {"telling": [same, same], "changed": False}
    assert _telling([]) == {"telling": [], "changed": False}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r_after": 0.9}, "So enough is left"),
        ({"r_after": 0.9}, "at random, these places with a little around them. Before"),
        ({"representation": "waves", "gate": "channel"}, "it is exchanged at random. Before"),
        (
            {"r_before": 1.0},
            "Before, it answered 100\u00a0% of held-out pictures without this exchange rightly; after, ",
        ),
        ({"r_after": 0.8}, "Much went with it"),
        ({"r_after": 0.97}, "perhaps a part of it is left"),
        ({"representation": "waves", "gate": "channel"}, "patterns that repeat all over an image, 15\u00a0% of them"),
        ({"representation": "blocks", "gate": "whole", "price": 1.0}, "how grainy or compressed an image is (blocks)"),
        ({"places_left": 0.19}, "changed its answer 19 points more often than a class-mate"),
    ],
)
def test_a_kept_round_says_what_its_figures_mean(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = summary()
    entry = found["rounds"][0]
    for name, value in changes.items():
        (entry if name in entry or name == "places_left" else entry["representations"][0])[name] = value
    entry["chosen"] = entry["representations"][0]["representation"]
    card = round_cards(found, Figures(tmp_path))[0]
    assert words in " ".join([card["what"], *card["sentences"]])


REASONS = [
    ("ι 0.52 − 0.40 for errors < 0.53: it cannot be exchanged, this is the object", "left alone: it is the object"),
    ("ι 0.83 − 0.33 for errors < 0.70: it errs too often to tell", "not decided: too many errors to tell"),
    (
        "ι 0.90 ≥ 0.53: one thing among others, it can be exchanged; what was exchanged is a part of the object",
        "left alone: it is a part of the object",
    ),
    ("φ 0.07 < 0.20: no cheap gate changes the answer", "left alone: no small exchange changes the answer"),
    (
        "contrast 0.51 ≥ 0.20: it decides in part, and surer than an object's own would; below the top it must decide "
        "alone; moves the carrying channels with AUROC 0.71",
        "left alone: it decides only in part of the answers",
    ),
    ("score 3 < 4: somebody's own rule", "left alone: somebody's own rule"),
]


@pytest.mark.parametrize(("reason", "badge"), REASONS)
def test_a_badge_says_the_one_thing_that_decided(reason: str, badge: str) -> None:
    entry = summary()["rounds"][1]
    entry["representations"][0]["reason"] = reason
    assert decided(entry) == badge
    assert decided(entry | {"representations": []}) == "not tried: nothing more elementary is left"


def test_a_badge_of_a_round_that_was_trained() -> None:
    kept = summary()["rounds"][0]
    assert decided(kept) == "kept: it is exchanged in training"
    assert decided(kept | {"overruled": ["pixels: the user"]}) == "kept by hand: it is exchanged in training"
    for reason, badge in (
        ("r 0.98 → 0.55 < 0.62, the least that must remain", "too little was left to tell the classes by"),
        ("r 0.98 → 0.9, but 0.2 where nothing is exchanged: it was the object itself", "it was the object"),
        ("r 1 → 1 ≥ 0.6, the least that must remain; the family 1 → 0.5 < 0.7", "what was found no longer tells the"),
    ):
        undone = kept | {"decision": "undone", "reason": f"pixels: ι 0.7; {reason}"}
        assert decided(undone).startswith(f"undone after training: {badge}")
    assert decided({name: value for name, value in undone.items() if name != "r_after"}) == "undone by hand"


@pytest.mark.parametrize(("images", "said"), [(76, True), (100, False), (None, False)])
def test_a_badge_takes_nothing_for_the_object_by_few_images(images: int | None, said: bool) -> None:
    trained, left = summary()["rounds"]
    reason = "r 0.98 → 0.9, but 0.2 where nothing is exchanged: it was the object itself"
    undone = trained | {"decision": "undone", "reason": f"pixels: ι 0.7; {reason}"}
    left["representations"][0]["reason"] = "ι 0.15 − 3.16 for errors < 0.53: it cannot be exchanged, this is the object"
    if images is not None:  # which runs of before do not say
        left["representations"][0]["sureness"] = undone["r_sureness"] = sure(1.0, images=images)
    few = "76 held-out images are too few to tell whether "
    assert decided(left) == f"left alone: {few if said else ''}it is the object"
    assert decided(undone) == f"undone after training: {few if said else ''}it was the object"
    left["representations"][0]["reason"] = "φ 0.00 < 0.20: no cheap gate changes the answer"
    assert decided(left) == "left alone: no small exchange changes the answer"


def test_a_decision_is_told_in_a_line() -> None:
    kept, left = summary()["rounds"]
    left["representations"][0]["reason"] = "contrast 0.10 < 0.80: it does not decide by itself"
    said = [decision_line(entry, ("car", "dog")).replace("\u00a0", " ") for entry in (kept, left)]
    assert said == [
        "Round 1, top: kept for car and dog: it is exchanged in training. Places that cover 15 % of an image (pixels): "
        "with another class's 90 % of the answers change.",
        "Round 2, top: left alone for car and dog: it does not decide the answer by itself. Colour, in places that "
        "cover 15 % of an image: with another class's 90 % of the answers change.",
    ]
    left["representations"] = []
    said = [decision_line(left, "abcdefghij")]
    assert said == ["Round 2, top: not tried for all 10 classes: nothing more elementary is left."]


def test_badges_know_what_the_rules_say() -> None:
    rules = ("plugins/stop_rules/interchangeable.py", *(f"conceptnet_ml/{name}.py" for name in DECIDING))
    said = " ".join(re.sub(r'"\s+f?"', "", (ROOT / rule).read_text()) for rule in rules)
    assert [words for words in (*_REFUSED, *_UNDONE) if words not in said] == []


def test_the_command_has_what_is_not_at_its_default() -> None:
    values = {"depth": 2, "data": {"trap": "a b", "skip_bad": True}, "plugins": {"controls": ["x", "y"]}}
    settings = Settings.model_validate(values)
    typed = "conceptnet-ml learn --depth 2 --trap 'a b' --skip-bad --set plugins.controls=x,y"
    assert command(settings) == typed
    assert ("depth", "2", "--depth") in changed_settings(settings, {"depth": "--depth"})
    assert ("data.trap", "a b", "given from Python") in changed_settings(settings, {})


def typed_settings(typed: str) -> tuple[Settings, list[str]]:
    """The settings that a shell and the command line make of it, and the words that are none."""
    words, given, flags = iter(shlex.split(typed)[2:]), [], {}
    names = {flag: name for name, flag in SETTINGS_FLAGS.items()}
    rest = []
    for word in words:
        if word == "--set":
            given.append(next(words))
        elif word in names:
            flags[names[word]] = True if word == "--skip-bad" else next(words)
        else:
            rest.append(word)
    return resolve_settings(None, given, flags).settings, rest


def test_the_command_can_be_pasted_and_makes_the_same_run(tmp_path: Path) -> None:
    data = {"source": "folder:it's my $photos", "classes": ("a b", "c"), "skip_bad": True, "trap": "tint:0.5+text"}
    odd = {
        "data": data,
        "seed": 3,
        "depth": 2,
        "plugins": {"controls": (), "dreamer": "none"},
        "round": {"keep": ("a", "b")},
    }
    settings = Settings.model_validate(odd)
    folder = tmp_path / "my runs" / "it's"
    typed = again(folder, settings, {"plugins": ["colours 0.1 (colours)", str(tmp_path / "a b.py")]})
    made, rest = typed_settings(typed)
    assert made == settings
    assert rest == ["--plugins-dir", str(tmp_path / "a b.py"), "--out", f"{folder}-again"]
    two = again("runs/x", Settings(), {"plugins": ["p/a.py", "p/b.py"]})
    assert two == "conceptnet-ml learn --plugins-dir p --out runs/x-again"


def test_the_page_says_what_the_command_needs(page: Page) -> None:
    assert "/run-again" in page.text
    assert "Type it in the folder in which the run was started" in page.text
    assert "started from Python" not in page.text
    notes = again_notes(summary() | {"edits": ["split"]}, {}, {"threads": 2})
    assert [
        words for words in ("threads 2", "started from Python", "'graph log'") if words not in " ".join(notes)
    ] == []
    notes = again_notes(summary(), {}, {"plugins": ["conceptnet-roots 0.1.0 (roots)", "/here/mine.py"]})
    assert "Plugin packages that were installed: conceptnet-roots 0.1.0 (roots)." in notes


def test_the_strongest_come_first_and_edges_join_what_is_drawn(run: Path) -> None:
    graph = concept_graph()
    (thing,) = graph.nodes("generalized")
    assert strength(graph, thing) == 3.0
    drawn = GraphView(graph, Figures(run)).drawing()
    assert [name for _, name in drawn["columns"]] == ["low: units", "top", "classes"]
    assert len(drawn["nodes"]) == len(graph)
    assert {edge["tone"] for edge in drawn["edges"]} == {"for", "against"}
    assert len(drawn["frames"]) == 1, "around what is exchanged, its variants and its members"
    assert all(0 <= node["x"] < drawn["width"] and 0 <= node["y"] < drawn["height"] for node in drawn["nodes"])


# ------------------------------------------------------------------------------------------------ a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
BAD = '<img src="http://example.com/x.png"><script>console.error("oh")</script>'


def complaints(path: Path) -> list[str]:
    """What a browser logs, and what the page asks it to fetch."""
    assert CHROMIUM is not None
    net, user = path.with_suffix(".net"), path.with_suffix(".user")
    words = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={user}", f"--log-net-log={net}", "--enable-logging=stderr"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "</html>" in done.stdout
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    # The browser's own requests come from no page.
    return said + re.findall(r'"initiator":"(?!not an origin)[^"]*".*?"url":"(https?:[^"]*)"', net.read_text())


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install -y chromium")
def test_a_browser_shows_it_without_an_error_or_a_request(run: Path, tmp_path: Path) -> None:
    assert complaints(write_page(run)) == []
    bad = tmp_path / "bad.html"
    bad.write_text(f"<!doctype html><title>bad</title>{BAD}")
    assert len(complaints(bad)) == 2, "it would be seen"


@pytest.mark.parametrize("name", ["top/classes/2", "low/top.1/1", "low/top.leaf/1"])
def test_a_round_is_called_as_its_concepts_call_it(name: str) -> None:
    graph = ConceptGraph(CLASSES, [("low", 8), ("top", 8)], network="9f", settings="03", seed=0)
    stage, _, number = name.split("/")
    node = graph.add_node("feature", "x", classes=CLASSES[:1], units=[1], stage=stage, round=int(number), found_in=name)
    assert f"({round_called(name, stage)})" in called(graph.node(node))


def test_no_picture_from_outside_of_a_run_is_shown(run: Path) -> None:
    (run.parent / "private.png").write_bytes(to_png(picture()))
    for name in (str(run.parent / "private.png"), "../private.png", "pictures/../../private.png", "a\0b"):
        figures = Figures(run)
        assert figures.sheet(name).cuttings == ()
        assert figures.missing == [name]


def test_the_sign_test_is_exact_and_as_fast_for_a_test_set_of_any_size() -> None:
    for n in range(60):
        for k in range(n // 2 + 1):
            tail = sum(math.comb(n, count) for count in range(k + 1)) / 2**n
            assert _beyond_chance({}, {}, {"won": k, "lost": n - k}) == (2 * tail < 0.05)
    assert _beyond_chance({}, {}, {"won": 10**8, "lost": 2 * 10**8})


def test_a_test_set_that_nothing_mends_is_said_at_the_top_and_last_in_the_terminal(run: Path) -> None:
    found = summary()
    nothing_kept(found)
    shares = {"ordinary": {"accuracy": 0.78}, "learned": {"accuracy": 0.78}}
    found["test_sets"] = {"test": {"images": 120, **shares}, "field": {"images": 120, **shares}}
    found["test_sets"]["test"] = {"images": 120, **{key: {"accuracy": 0.98} for key in shares}}
    (run / "summary.json").write_text(json.dumps(found))
    said = "On 'field' both networks answer 78 % rightly where they answer 98 % on 'test': something that 'test' has is"
    text = " ".join(Page(write_page(run)).text.replace("\u00a0", " ").split())
    assert said in text[: text.index("What the network hung on")]
    assert tables(found, brief=True)[-1].replace("\u00a0", " ").startswith(said)
    told = dict(verdict(found))["What to do next"]
    assert "would tell" not in told
    assert "tell whether it needs" not in told
    for word in ("'inspect'", "'adapt'", "decide a round by hand"):
        assert word in told
    found["test_sets"]["field"] = {"images": 120, **{key: {"accuracy": 0.95} for key in shares}}
    assert not failing_words(found), "the intervals overlap"
    found["test_sets"]["field"] = {"images": 120, **shares, "learned": {"accuracy": 0.95}}
    assert not failing_words(found), "the learned network mends it"
    found = summary()
    found["test_sets"] = {"test": found["test_sets"]["test"], "field": {"images": 200, **shares}}
    found["test_sets"]["field"]["learned"] = {"accuracy": 0.8}
    assert "answers 78\u00a0% rightly and the learned one 80\u00a0%" in failing_words(found)
    assert failing_words(found).endswith("no round mends it.")


def test_where_few_images_decide_nothing_is_called_sure(run: Path) -> None:
    found = summary()
    nothing_kept(found)
    found["rounds"][0]["sureness"] = found["rounds"][0]["representations"][0]["sureness"] = sure(0.98)
    found["rounds"][0]["r_sureness"] = sure(1.0, figure="r")
    (run / "summary.json").write_text(json.dumps(found))
    text = " ".join(Page(write_page(run)).text.split())
    shown = text.partition("after training:")[0]
    assert dict(verdict(found))["What the network hung on"].startswith("Too few to be sure. Only 20 held-out images")
    assert "Too few to be sure. Only 20 held-out images decided" in shown
    assert "(the rule's words; too few to be sure)" in shown
    assert "Too few to be sure: only 20 held-out images decided; 98 of 100 draws of these few decide the same" in shown
    assert "Sure: with" not in text
    assert "Sure: 98" not in text
    assert "too few to be sure, 98 of 100 draws" in " ".join(to_text(found, width=1000).split())
    assert "(sure," not in to_text(found, width=1000)


def test_a_named_place_is_not_taken_for_what_the_concepts_are(run: Path) -> None:
    found = summary()
    by_place(found)
    (run / "summary.json").write_text(json.dumps(found))
    text = " ".join(Page(write_page(run)).text.split())
    assert "The concepts of this round were looked for in the whole picture, not in the place: " in text
    assert "Both dreams are of the whole class: the user named the place (bottom,right), and not" in text
    assert (
        "Round 1, top exchanged a place that the user named, bottom,right. Its concepts are of the whole class" in text
    )


def test_where_few_images_decide_nothing_is_called_the_object(run: Path) -> None:
    found = summary()
    nothing_kept(found)
    for entry in found["rounds"]:
        entry["representations"][0] |= {
            "reason": "ι 0.15 − 3.16 for errors < 0.53: it cannot be exchanged, this is the object",
            "sureness": sure(1.0, images=20),
        }
    (run / "summary.json").write_text(json.dumps(found))
    page, printed = (" ".join(one.split()) for one in (Page(write_page(run)).text, to_text(found, width=1000)))
    for text in (page, printed):
        assert "< 0.53: 20 held-out images are too few to tell whether this is the object" in text
        assert "this is the object (too few" not in text
        assert "this is the object" not in text.replace("whether this is the object", "")
    assert "to tell whether it is the object (the rule's words)." in page, "which says it once"
    found["images"]["held_out"] = 200
    assert "it cannot be exchanged, this is the object (sure, 100 of 100" in " ".join(to_text(found, 1000).split())
    found["images"]["held_out"] = 20
    found["rounds"][0]["representations"][0]["reason"] = "ι 0.9 ≥ 0.5: so; what was exchanged is a part of the object"
    assert "; 20 held-out images are too few to tell whether what was exchanged is a part of the object" in " ".join(
        to_text(found, width=1000).split()
    )
