"""What is said of a picture, in words and as a page: with markup, emoji and marks of direction for names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from made_run import concept_graph
from torch import nn

from conceptnet_ml import DataError, write_explanation
from conceptnet_ml.errors import visible
from conceptnet_ml.results.explain import same_weights
from conceptnet_ml.results.explanation import ConceptAnswer, DonorTrial, Exchange, Explanation

EVIL = '<b onclick="x()">🐩 & "cat"</b>\u202e'
IMAGE = torch.randint(0, 256, (3, 24, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MAP = torch.zeros(6, 8)
MAP[5, :3] = torch.tensor([3.0, 2.0, 2.0])
MAP[4, :2] = 1.0


def trial(name: str, ordinary: dict[str, int], learned: dict[str, int]) -> DonorTrial:
    seen = {"ordinary": next(iter(ordinary)), "learned": next(iter(learned))}
    return DonorTrial(
        name, 8, 0.25, {"ordinary": ordinary, "learned": learned}, IMAGE, IMAGE, torch.rand(1, 4, 4), seen
    )


def exchange(*trials: DonorTrial) -> Exchange:
    return Exchange("top/classes/1", 1, "places", False, {"ordinary": "car", "learned": EVIL}, trials)


def answer(
    by_class: dict[str, float],
    percentile: float = 0.9,
    contribution: float | None = 2.25,
    says: str = "car",
    excess: float = 1.0,
) -> ConceptAnswer:
    node = next(one for one in concept_graph().nodes("feature") if one.classes == ("car",))
    return ConceptAnswer(
        node, "the ordinary network", 1.0, percentile, by_class, contribution, says, excess, None, MAP, (24, 32)
    )


def explanation() -> Explanation:
    swaps = exchange(trial(EVIL, {EVIL: 7, "car": 1}, {EVIL: 8}), trial("car", {"car": 8}, {EVIL: 6, "car": 2}))
    probabilities = {"ordinary": {"car": 0.9, EVIL: 0.1}, "learned": {EVIL: 0.8, "car": 0.2}}
    concepts = [answer({"car": 0.5, EVIL: 0.99}), replace(answer({"car": 0.5}), says=EVIL)]
    return Explanation(f"photos/{EVIL}.png", IMAGE, probabilities, concepts, [swaps], [f"left: {EVIL}"], 40)


def test_a_conclusion_is_drawn_beside_its_control() -> None:
    other = trial(EVIL, {EVIL: 8}, {EVIL: 8})
    kin = trial("car", {"car": 7, EVIL: 1}, {"car": 2, EVIL: 6})
    found = exchange(other, kin)
    assert found.changed("ordinary") == (1.0, 0.125)
    assert found.changed("learned") == (0.25, 0.0)
    assert f"the ordinary network says {EVIL} in place of car" in found.conclusion
    assert f"the learned network leaves its {EVIL} at times" in found.conclusion
    still = exchange(trial(EVIL, {"car": 8}, {EVIL: 8}), kin)
    assert "the ordinary network says car all the same" in still.conclusion
    anything = exchange(other, trial("car", {EVIL: 8}, {EVIL: 8}))
    assert "leaves its car with any material, that of car too, which says little" in anything.conclusion


def test_each_network_has_its_own_counts_and_share() -> None:
    poodle = replace(trial("poodle", {"poodle": 8}, {"poodle": 8}), opened=0.13)
    car = replace(trial("car", {"car": 7, "poodle": 1}, {"car": 5, "poodle": 3}), opened=0.23)
    found = replace(exchange(poodle, car), answers={"ordinary": "car", "learned": "poodle"})
    assert found.conclusion.replace("\u00a0", " ") == (
        "With material of poodle in 13 % of the picture, as round 1 exchanges it, the ordinary network says poodle in "
        "place of car in 8 of 8; material of car in 23 % changes it in 1 of 8. With material of car in 23 % of the "
        "picture, as round 1 exchanges it, the learned network leaves its poodle at times, in 5 of 8; material of "
        "poodle in 13 % changes it in 0 of 8; so much material may cover the object, too."
    )
    whole = replace(found, trials=[replace(one, gate=None) for one in found.trials])
    assert "%" not in whole.conclusion
    assert "cover" not in whole.conclusion, "patterns of the whole picture cover nothing"
    alone = replace(found, trials=[poodle], answers={"ordinary": "car", "learned": "car"})
    assert "no material of car was tried beside it; the learned network likewise." in alone.conclusion


def test_a_control_that_fails_is_said_and_is_no_cue() -> None:
    poodle = trial("poodle", {"poodle": 8}, {"car": 7, "poodle": 1})
    found = exchange(poodle, trial("car", {"poodle": 4, "car": 4}, {"car": 8}))
    found = replace(found, answers={"ordinary": "car", "learned": "car"})
    assert found.conclusion.replace("\u00a0", " ") == (
        "With material of poodle in 25 % of the picture, as round 1 exchanges it, the ordinary network says poodle in "
        "place of car in 8 of 8, but material of its own class changes it, too, in 4 of 8: what comes in there covers "
        "what it needs, which need not be a cue. The learned network says car all the same, in 7 of 8."
    )


def test_what_is_the_same_is_said_once() -> None:
    bird, dog, car = (trial(name, {"car": 8}, {"car": 8}) for name in ("bird", "dog", "car"))
    both = {"ordinary": "car", "learned": "car"}
    still = replace(exchange(bird, dog, car), answers=both)
    assert still.sentences == [
        "Material of bird, dog and car changes no answer: both networks answer car as before, in 24 of 24."
    ]
    other = trial("deer", {"deer": 8}, {"deer": 8})
    said = " ".join(replace(exchange(other, bird, dog, car), answers=both).sentences).replace("\u00a0", " ")
    assert said.startswith(
        "With material of 8 held-out images of deer in 25 % of the picture both networks say deer in 8 of 8. With "
        "material of 8 held-out images each of bird, dog and car in 25 % of the picture both networks say car in 8 of "
        "8, each time. With material of deer, bird and dog in 25 % of the picture, as round 1 exchanges it, the "
        "ordinary network leaves its car at times, in 8 of 24; material of car in 25 % changes it in 0 of 8"
    )
    assert said.endswith("; the learned network likewise.")
    apart = replace(exchange(bird), answers={"ordinary": "car", "learned": "bird"}).sentences
    assert len(apart) == 2, "the learned one says another thing now"


def test_why_is_said_of_what_lends_most_to_each_network() -> None:
    learned = replace(answer({}, contribution=5.2, says=EVIL, excess=-1.0), network="the learned network")
    node = concept_graph().nodes("generalized")[0]
    shared = replace(answer({}, contribution=3.4), node=node)
    below = replace(answer({}, contribution=12.0), network="the ordinary network, about family block3.1")
    unknown = answer({}, contribution=None)
    found = replace(explanation(), concepts=[answer({}), shared, below, unknown, learned])
    swaps = replace(found.exchanges[0], round=node.found_in)
    said = replace(found, exchanges=[swaps]).why
    assert said[0].endswith(
        "(+3.4), which is strongest at the bottom left; with other material, as its round exchanges it, "
        "the ordinary network turns in 7 of 8, the "
        "learned one in 2 of 8."
    )
    assert said[0].startswith("The ordinary network's car leans most on \u201cWhat ")
    assert said[1].endswith("\u201d being weaker than on average (+5.2).")
    assert [one.contribution for one in found.lending] == [5.2, 3.4, 2.25, 12.0], "families last"
    control = trial("car", {"car": 5, EVIL: 3}, {EVIL: 8})
    fails = replace(swaps, trials=[swaps.trials[0], control])
    turns = "the ordinary network turns in 7 of 8 (with its own class's material in 3 of 8), the learned one in 0 of 8."
    assert replace(found, exchanges=[fails]).why[0].endswith(turns)
    against = replace(found, concepts=[answer({}, contribution=-2.0)]).why
    assert "leans on none of the concepts found for it" in against[0]
    assert "no concept that was found in this network could be looked at" in against[1]


def test_strength_is_told_by_the_classes_it_is_usual_in() -> None:
    assert answer({"car": 0.3, "dog": 1.0}).strength == "as in car"
    assert answer({"car": 0.0, "dog": 1.0}).strength == "stronger than usual in dog, weaker than usual in car"
    assert answer({"car": 1.0, "dog": 1.0}).strength == "stronger than usual in car and dog"
    assert answer({"car": 0.0, "dog": 0.99}).ranks.replace("\u00a0", " ") == "above 99 % of dog, 0 % of car"
    many = answer({f"c{n}": n / 10 for n in range(8)})
    assert many.ranks.replace("\u00a0", " ") == "above 70 % of c7, 60 % of c6, 10 % of c1, 0 % of c0"


def test_place_and_effect_in_words() -> None:
    assert answer({}).place == answer({"car": 0.05}).place == "bottom left"
    assert answer({"car": 0.04, "dog": 0.9}).place == "weak here; most bottom left"
    assert replace(answer({}), unit_map=torch.zeros(6, 8)).place == "nowhere more than elsewhere"
    apart = torch.zeros(6, 8)
    apart[:2, 6:] = torch.tensor([[3.0, 3.0], [2.0, 2.0]])
    apart[5, 3:5] = 3.0
    found = replace(answer({}), unit_map=apart)
    assert found.place == "top right and bottom", "as it is outlined, and not the middle between both"
    said = replace(explanation(), concepts=[found], exchanges=[]).why[0]
    assert said.endswith("(+2.2), which is strongest at the top right and at the bottom.")
    speck = apart.clone()
    speck[5, 3:5] = torch.tensor([2.0, 0.0])
    assert replace(found, unit_map=speck).place == "top right", "what is hardly outlined is not told of"
    assert answer({}).effect == "+2.2 for car, being stronger than on average"
    assert answer({}, 0.2, -1.5, excess=-1.0).effect == "−1.5 for car, being weaker than on average"
    between = answer({"car": 0.0, "dog": 1.0}, 0.5, 5.2, "dog", -0.3)
    assert between.effect == "+5.2 for dog, being weaker than on average", "what counts is the mean that it is set to"
    assert between.record()["excess"] == -0.3
    assert answer({}, contribution=None).effect == "not known"


def test_it_becomes_json() -> None:
    record = json.loads(json.dumps(explanation().record()))
    assert record["probabilities"]["learned"] == {EVIL: 0.8, "car": 0.2}
    assert record["concepts"][0]["by_class"] == {"car": 0.5, EVIL: 0.99}
    assert record["exchanges"][0]["changed"]["ordinary"] == {"others": 0.875, "mates": 0.0}
    assert record["left_out"] == [f"left: {EVIL}"]


def test_the_page_needs_nothing_and_names_stay_text(tmp_path: Path) -> None:
    page = write_explanation(explanation(), tmp_path / "why" / "page.html", EVIL).read_text(encoding="utf-8")
    assert page.count("<dt>Lends</dt>") == 2
    lines = (
        "Within the yellow line: where the concept answers most",
        "what a round exchanges lies\nwithin the red line",
    )
    assert all(one in page for one in lines), "two outlines, of two things"
    whole = [replace(one, trials=[replace(each, gate=None) for each in one.trials]) for one in explanation().exchanges]
    everywhere = write_explanation(replace(explanation(), exchanges=whole), tmp_path / "whole.html")
    assert "red line" not in everywhere.read_text(encoding="utf-8")
    unknown = replace(explanation(), concepts=[answer({"car": 0.5}, contribution=None)])
    assert "<dt>Lends</dt>" not in write_explanation(unknown, tmp_path / "unknown.html").read_text(encoding="utf-8")
    tags: list[tuple[str, dict[str, str | None]]] = []
    text: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

        def handle_data(self, data: str) -> None:
            text.append(data)

    Reader().feed(page)
    assert "".join(text).count(visible(EVIL)) > 8
    assert "\u202e" not in page, "a name does not turn the page round"
    assert not [tag for tag, given in tags if tag in ("script", "b") and given]
    assert not [given for _, given in tags if "onclick" in given]
    sources = [str(given["src"]) for _, given in tags if "src" in given]
    assert len(sources) == 1 + 2 * 4 + 2
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.findall(r"https?://|url\(|@import", page)
    assert len(page) < 200_000
    with pytest.raises(DataError, match="is a folder"):
        write_explanation(explanation(), tmp_path)


def test_where_nothing_was_kept_one_network_is_told_of() -> None:
    shares = {"ordinary": {"car": 0.99, EVIL: 0.01}, "learned": {"car": 0.99, EVIL: 0.01}}
    about = replace(answer({}, contribution=5.2), network="the ordinary network")
    found = replace(explanation(), probabilities=shares, concepts=[about], exchanges=[], is_one=True)
    assert found.headline.replace("\u00a0", " ") == (
        "Nothing was kept, so there is one network; it says car with 99 %."
    )
    assert len(found.why) == 1
    assert "could be looked at" not in found.why[0]
    one, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    assert same_weights(one, other)
    other.running_mean += 1
    assert not same_weights(one, other)
