"""How sure decisions are, where chance is known beforehand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from conceptnet_ml.config.settings import RoundSettings
from conceptnet_ml.swap import stop_rule
from conceptnet_ml.swap.hits import Hits
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Compared, Decision, how_sure, sure_of_round
from conceptnet_ml.swap.sureness import DRAWS, Redraws, Sureness, hundredths, redrawn_shares, sure_words, sureness
from conceptnet_plugins.stop_rules.interchangeable import decide


def first(count: int, of: int) -> Tensor:
    """The first so many of so many are hit."""
    return torch.arange(of) < count


def measured(
    wrong: int = 0, others: int = 100, mates: int = 0, gate: str = "place", flips: int | None = None, count: int = 100
) -> SwapMeasurement:
    """Two classes of so many images: % of each that are answered wrongly, and of the others' answers those that
    material of other classes and of mates changes. Each image meets its opposite number, and itself as a mate."""
    labels, right = torch.arange(2 * count) // count, count - wrong * count // 100

    def hits(share: int) -> Tensor:
        return first(share * right // 100, count).repeat(2)

    answered, met = hits(100), torch.arange(2 * count).repeat(3, 1).T
    hit = [hits(others if flips is None else flips), hits(others), hits(mates)]
    changed = (one[:, None].expand(-1, 3) for one in hit[1:])
    seen = Hits(labels, answered, hit[0], 2 * count - 1 - met, met, *changed)
    rates = (tuple(float(one[labels == c].sum()) / right for c in (0, 1)) for one in hit)
    found = SwapMeasurement("it", gate, (right, right), *rates, 0.1, right / count, (count, count), hits=seen)
    return replace(found, met=seen.pairs(2))


def test_each_class_is_drawn_as_often_as_it_was_held_out() -> None:
    labels = torch.tensor([0, 0, 0, 2, 2])
    draws = Redraws(labels, 3)
    for c, count in ((0, 3), (1, 0), (2, 2)):
        drawn = draws.known[:, draws.members(c)].sum(1) + draws.unknown[:, c]
        assert drawn.tolist() == [count] * DRAWS
    assert torch.equal(draws.known, Redraws(labels, 3).known), "each time the same"
    assert not torch.equal(draws.known, Redraws(labels, 3, seed=1).known)


def test_an_interval_is_as_wide_as_the_binomial_one() -> None:
    labels, hits = torch.zeros(400, dtype=torch.int64), first(200, 400)
    values = [one for (one,) in redrawn_shares([hits], labels, 1)]
    found = sureness("r", 0.5, 0.5, values, [one >= 0.5 for one in values], 400)
    assert found.low == pytest.approx(0.451, abs=0.01)  # 0.5 ± 1.96 √(0.25 / 400)
    assert found.high == pytest.approx(0.549, abs=0.01)
    assert found.agree == pytest.approx(0.5, abs=0.1), "on the threshold it is a toss"


def test_classes_keep_their_shares_so_what_only_tells_them_apart_is_not_chance() -> None:
    labels = torch.arange(400) % 2
    values = torch.tensor(redrawn_shares([labels == 0], labels, 2)).flatten()
    assert values.std() < 0.004  # √1.5 images: those of which nothing is known
    assert torch.tensor(redrawn_shares([labels == 0], labels * 0, 1)).std() > 0.02


def test_figures_of_the_same_images_move_together() -> None:
    labels, hits = torch.zeros(400, dtype=torch.int64), first(200, 400)
    same = torch.tensor(redrawn_shares([hits, hits], labels, 1))
    others = torch.tensor(redrawn_shares([hits, hits.flip(0)], labels, 1))
    assert (same[:, 0] - same[:, 1]).std() < 0.004  # the image of which nothing is known alone
    assert (others[:, 0] - others[:, 1]).std() > 0.04


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_no_error_among_few_images_proves_little(count: int) -> None:
    """The rule of three: none of N leaves room for 3 of N."""
    values = [one for (one,) in redrawn_shares([first(count, count)], torch.zeros(count, dtype=torch.int64), 1)]
    found = sureness("r", 0.5, 1.0, values, [True] * DRAWS, count)
    assert 1.5 / count <= 1 - found.low <= 5 / count
    assert found.high == 1.0, "what was found lies inside"


def test_a_measurement_is_drawn_again_with_all_that_it_counts() -> None:
    one = measured(wrong=4, others=75, mates=25)
    again = list(one.redrawn())
    assert len(again) == DRAWS
    mean = {
        name: sum(getattr(each, name) for each in again) / DRAWS for name in ("phi", "iota", "contrast", "answered")
    }
    assert mean["phi"] == pytest.approx(one.phi, abs=0.01)
    assert mean["contrast"] == pytest.approx(one.contrast, abs=0.02)
    assert mean["answered"] == pytest.approx(one.answered, abs=0.01)
    assert mean["iota"] == pytest.approx(one.iota, abs=0.06), "of two classes the lower"
    for each in again[:9]:
        assert (each.asked, each.price, each.hits) == (one.asked, one.price, None)
        assert all(isinstance(count, int) for count in each.images)
        assert [pair[:2] for pair in each.met] == [(0, 1), (1, 0)]
        assert each.within((0, 1), 0.0)[1] == pytest.approx(each.iota, abs=0.03)


def test_what_nobody_counted_is_not_drawn_again() -> None:
    one = replace(measured(), hits=None)
    assert not list(one.redrawn())
    assert how_sure(one, decide(one, RoundSettings()), lambda each: decide(each, RoundSettings())) is None


def test_a_measurement_comes_back_from_a_step_also_from_one_of_before() -> None:
    one = measured(wrong=2)
    back = SwapMeasurement.restored(one.stored())
    assert back == one
    assert back.hits is not None
    assert one.hits is not None
    assert torch.equal(back.hits.others, one.hits.others)
    old = {name: value for name, value in one.stored().items() if name != "hits"}
    assert SwapMeasurement.restored(old).hits is None
    assert "hits" not in one.record()


def sure_of(one: SwapMeasurement) -> Sureness:
    settings = RoundSettings()
    found = how_sure(one, decide(one, settings), lambda each: decide(each, settings))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "grade", "figure"),
    [
        pytest.param(measured(), "sure", "ι less errors", id="kept"),
        pytest.param(measured(others=30), "sure", "ι less errors", id="refused"),
        pytest.param(measured(wrong=3, others=90), "close call", "ι less errors", id="as many errors as there may be"),
        pytest.param(measured(flips=5, others=5), "sure", "φ", id="no gate"),
        pytest.param(measured(gate="channel", others=95), "sure", "contrast", id="decides alone"),
        pytest.param(measured(gate="channel", others=80), "close call", "contrast", id="perhaps alone"),
        pytest.param(measured(wrong=2, gate="whole", others=57), "close call", "contrast less errors", id="in part"),
    ],
)
def test_how_sure_the_built_in_rule_is(one: SwapMeasurement, grade: str, figure: str) -> None:
    found = sure_of(one)
    assert (found.grade, found.figure, found.images) == (grade, figure, 200)
    assert found.low <= found.value <= found.high
    assert found == sure_of(one), "each time the same"


def test_few_images_are_less_sure() -> None:
    few, many = (sure_of(measured(others=65, count=count)) for count in (20, 200))
    assert few.high - few.low > 2 * (many.high - many.low)
    assert few.agree < many.agree


def test_a_swap_counts_as_often_as_both_its_images_were_drawn() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    draws = Redraws(labels, 2)
    donors = torch.tensor([[2, 3], [2, 2], [0, 0], [1, 0]])
    times = draws.pairs(draws.members(0), donors)
    assert torch.equal(times[:, 0, 1], draws.known[:, 0] * draws.known[:, 3])
    assert torch.equal(times[:, 1, 0], draws.known[:, 1] * draws.known[:, 2])


def test_which_donors_there_are_is_chance_too() -> None:
    """Half of the donors change every answer: √(¼ / 100) and more, where the hosts alone would give √(¼ / 300)."""
    one = measured()
    assert one.hits is not None
    drawn = torch.randint(100, (200, 3), generator=torch.Generator().manual_seed(0))
    donors = drawn + 100 * (one.hits.labels == 0)[:, None]
    again = replace(one, hits=replace(one.hits, donors=donors, others=donors % 2 == 0)).redrawn()
    spread = torch.tensor([each.others[0] for each in again]).std()
    assert 0.05 < spread < 0.08


def test_a_rule_that_says_not_what_it_compared_is_asked_once() -> None:
    asked = []

    def rule(one: SwapMeasurement) -> Decision:
        asked.append(one)
        return Decision(True, "always")

    one = measured()
    assert how_sure(one, rule(one), rule) is None
    assert len(asked) == 1
    said = replace(rule(one), compared=Compared("φ", 0.5, lambda each: each.phi))
    found = how_sure(one, said, rule)
    assert found is not None
    assert (found.agree, found.value, found.least) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("after", "without", "grade", "figure"),
    [
        (180, 190, "sure", "r"),
        (125, 190, "close call", "r"),
        (60, 60, "sure", "r"),
        (190, 178, "close call", "r without"),
    ],
)
def test_how_sure_a_training_is(after: int, without: int, grade: str, figure: str) -> None:
    labels = torch.arange(200) % 2
    hits = first(200, 200), first(after, 200), first(without, 200)
    found = sure_of_round(hits, labels, 2, RoundSettings())
    assert found.grade == grade
    assert found.figure.startswith(figure)
    assert found.low <= found.value <= found.high


def test_a_decision_in_its_place_takes_no_sureness_over() -> None:
    sure = Sureness("φ", 0.5, 0.4, 0.6, 0.2, 1.0, 9)
    decision = replace(Decision(True, "so"), sureness=sure)
    assert decision.instead(False, "no").sureness is None
    assert decision.instead(False, "no", sure=sure).sureness == sure
    assert (decision.instead(False, "no").evidence, decision.instead(False, "no", "him").evidence) == (
        decision.evidence,
        "him",
    )


def test_words_and_grades() -> None:
    found = Sureness("ι", 0.512, 0.4, 0.6, 0.53, 0.625, 90)
    assert sure_words(found.record()) == "close call, 62 of 100 draws: ι 0.51 [0.40, 0.60], 0.53 asked"
    assert [replace(found, agree=x).grade for x in (0.95, 0.94, 0.8, 0.79)] == [
        "sure",
        "likely",
        "likely",
        "close call",
    ]
    assert [hundredths(x) for x in (1.0, 0.999, 0.29, 0.0)] == [100, 99, 29, 0]


def test_what_was_found_is_in_the_middle_of_its_draws() -> None:
    """Of two equal classes the lower is lower still when both are drawn again."""
    one = measured(others=60)
    raw = [each.iota for each in one.redrawn()]
    assert sum(raw) / DRAWS < one.iota - 0.015
    at = Compared("ι", one.iota, lambda each: each.iota)
    found = how_sure(one, Decision(True, "", compared=at), lambda each: Decision(each.iota >= 0.6, "", compared=at))
    assert found is not None
    assert found.agree == pytest.approx(0.5, abs=0.1)


def test_a_draw_that_hangs_on_something_else_decides_by_that() -> None:
    found = sureness("ι", 0.5, 0.6, [0.4, 0.6, 0.8], [None, False, None], 9)
    assert found.agree == pytest.approx(1 / 3)


def test_with_many_classes_the_threshold_alone_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_rule, "MANY", 1)
    one, at = measured(others=60), Compared("ι", 0.3, lambda each: each.iota)
    found = how_sure(one, Decision(True, "", compared=at), lambda each: pytest.fail("it was asked"))
    assert found is not None
    assert found.agree == 1.0
