"""CycleGAN: the step of both parts by hand-computed values, the pool, stops, and what is made of translations."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from two_convolutions import draw

from conceptnet_ml.contract.baseline_kind import Patience, small_context
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import Interrupted, SettingsError, TrainingDiverged
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.steps.context import Context
from conceptnet_plugins.baselines import cycle_gan

PLUGINS = load_plugins(use_entry_points=False)


def context_of(ctx: Context) -> BaselineContext:
    record, _ = baseline_of("cycle-gan", PLUGINS)
    return BaselineContext(ctx, record, ctx.network(), 1)


def translator(images: int = 1000) -> cycle_gan.Translator:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return cycle_gan.Translator((3, 8, 8), 2, images, 5)


def batch(count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 3, 8, 8, generator=draw()), torch.arange(count) % 2


def state(one: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in one.state_dict().items()}


@pytest.mark.parametrize(("size", "halves"), [((32, 32), 1), ((64, 48), 2), ((15, 17), 1)])
def test_generators_translate_any_size_and_begin_near_the_image(size: tuple[int, int], halves: int) -> None:
    generator = cycle_gan.Generator(3, max(size), 2)
    images = 0.1 + 0.8 * torch.rand(2, 3, *size, generator=draw())
    found = generator(images, torch.tensor([0, 1]), torch.tensor([1, 0]))
    assert found.shape == images.shape
    assert len(generator.down) == halves
    assert 0 < float(found.detach().min()) <= float(found.detach().max()) < 1
    alone = generator(images[1:], torch.tensor([1]), torch.tensor([0]))
    assert torch.allclose(found[1:], alone, atol=1e-5)
    assert not torch.allclose(alone, generator(images[1:], torch.tensor([1]), torch.tensor([1])))
    torch.nn.init.zeros_(generator.last.weight)
    torch.nn.init.zeros_(generator.last.bias)
    assert torch.allclose(generator(images, torch.tensor([0, 1]), torch.tensor([1, 0])), images, atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_step_of_both_parts_is_adam_on_their_losses(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least squares, ten times the cycle and five times the identity, both in [−1, 1]; the discriminator by halves."""
    monkeypatch.setattr(cycle_gan, "NOISE", noise)
    both, other = translator(), translator()
    (images, labels), targets = batch(), 1 - batch()[1]
    random = torch.Generator().manual_seed(5)
    torch.randint(1, 2, (4,), generator=random)
    drawn = noise * torch.randn(images.shape, generator=random)
    parts = [other.generator.requires_grad_(True), other.discriminator.requires_grad_(True)]
    optimizers = [torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)) for part in parts]
    generate, discriminate = parts
    fakes = generate(images, labels, targets)
    back = generate(fakes + drawn, targets, labels)
    same = generate(images, targets, labels)
    rows = torch.arange(4)
    loss = (discriminate(fakes)[rows, targets] - 1).square().mean()
    loss = loss + 10 * (2 * back - 2 * images).abs().mean() + 5 * (2 * same - 2 * images).abs().mean()
    loss.backward()
    discriminate.zero_grad()
    before = [discriminate(images)[rows, labels], discriminate(fakes.detach())[rows, targets]]
    ((before[0] - 1).square().mean() / 2 + before[1].square().mean() / 2).backward()
    for optimizer in optimizers:
        optimizer.step()
    assert torch.allclose(both.step(images, labels), loss.detach(), atol=1e-4)
    for name in ("generator", "discriminator"):
        start = dict(getattr(translator(), name).named_parameters())
        theirs = dict(getattr(other, name).named_parameters())
        for key, own in getattr(both, name).named_parameters():
            steady = theirs[key].grad.abs() > 1e-5  # where the sign of a slope is not one of rounding
            assert torch.allclose(own[steady], theirs[key].detach()[steady], atol=2e-5)
            assert not torch.equal(own, start[key]) or not steady.any()
    assert (int(both.seen), int(both.taken), int(both.filled)) == (4, 1, 4)


def test_the_rate_falls_to_nothing_over_the_second_half() -> None:
    sizes = []
    for seen in (0, 500, 750, 1000):
        fresh = translator(images=1000)
        fresh.seen.fill_(seen)
        before = torch.cat([weight.flatten() for weight in fresh.generator.parameters()])
        slopes = tuple(torch.ones_like(weight) for weight in fresh.generator.parameters())
        fresh._adam("generator", slopes)
        after = torch.cat([weight.flatten() for weight in fresh.generator.parameters()])
        sizes.append(float((before - after).mean()))
    assert sizes == pytest.approx([2e-4, 2e-4, 1e-4, 0.0], rel=1e-2, abs=1e-9)


def test_the_pool_gives_some_of_before_for_half_of_what_comes_once_it_is_full() -> None:
    both, random = translator(), draw()
    first = torch.full((cycle_gan.POOL, 3, 8, 8), 0.25)
    shown, classes = both._replayed(first, torch.zeros(cycle_gan.POOL, dtype=torch.int64), random)
    assert torch.equal(shown, first)
    assert int(both.filled) == cycle_gan.POOL
    later = torch.full((200, 3, 8, 8), 0.75)
    shown, classes = both._replayed(later, torch.ones(200, dtype=torch.int64), random)
    old = (shown == 0.25).flatten(1).all(1)
    assert torch.equal(classes == 0, old)
    assert 20 < int(old.sum()) <= 50
    assert float(both.pool.mean()) > 0.5


def test_a_stopped_training_ends_as_one_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = state(cycle_gan.translator_of(context_of(small_context(tmp_path / "whole", PLUGINS))))
    ctx = small_context(tmp_path / "stopped", PLUGINS)
    stops = 0
    while True:
        ctx.stopper = Patience(3 + stops)
        try:
            found = cycle_gan.translator_of(context_of(ctx))
            break
        except Interrupted:
            stops += 1
    assert stops > 1
    assert all(torch.equal(whole[name], value) for name, value in found.state_dict().items())
    assert int(found.seen) == found.images
    assert float(found.idle.detach()) == 0


def test_a_loss_that_is_no_number_stops_it_with_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    judge = cycle_gan.Translator._judge

    def broken(self: Any, *given: Any) -> None:
        judge(self, *given)
        if int(self.taken) == 20:
            next(self.generator.parameters()).fill_(torch.nan)

    monkeypatch.setattr(cycle_gan.Translator, "_judge", broken)
    with pytest.raises(TrainingDiverged, match="the last good state is kept"):
        cycle_gan.translator_of(context_of(ctx))
    kept = [path for path in (ctx.run.path / "checkpoints").rglob("*.safetensors") if "translator" in str(path)]
    assert len(kept) == 1
    monkeypatch.setattr(cycle_gan.Translator, "_judge", judge)
    found = cycle_gan.translator_of(context_of(ctx))  # goes on from it
    assert all(torch.isfinite(value).all() for value in found.state_dict().values())


def test_too_few_images_are_refused_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(small_context(tmp_path, PLUGINS))
    labels = (torch.arange(len(context.plain.images)) > 50).long()
    few = ImageSet(context.plain.images.take(torch.arange(len(labels))), labels)
    monkeypatch.setattr(context.plain, "images", few)
    monkeypatch.setattr(context, "train", lambda *given, **more: pytest.fail("trained"))
    with pytest.raises(SettingsError, match="takes 20 images a class, and 'bright' has") as error:
        cycle_gan.fit(context)
    assert "data.holdout" in error.value.mend


@pytest.mark.parametrize("whole", [True, False])
def test_what_an_image_exchanges_with_its_translation_lies_between_the_two(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = small_context(tmp_path, PLUGINS)
    context = context_of(ctx)
    images = context.plain.images.take(context.plain.pool)
    fake = SimpleNamespace()
    monkeypatch.setattr(cycle_gan, "translator_of", lambda context: fake)
    monkeypatch.setattr(cycle_gan, "translated", lambda context, one, targets: 255 - images)
    shown: list[Any] = []
    monkeypatch.setattr(context, "train", lambda name, net, views, epochs: shown.append((views, epochs)) or net)
    (cycle_gan.literal if whole else cycle_gan.fit)(context)
    views, epochs = shown[0]
    assert epochs == context.ordinary_epochs + context.epochs
    found, labels = views(torch.arange(len(images)), draw())
    assert torch.equal(labels.cpu(), context.plain.images.labels[context.plain.pool])
    found = (found * 255).round().int()
    changed = (found != images).flatten(1).any(1)
    assert 0.2 < float(changed.double().mean()) < 0.8
    ends = images.int(), 255 - images.int()
    assert ((found >= torch.minimum(*ends) - 1) & (found <= torch.maximum(*ends) + 1)).all()
    assert bool((found[changed] == ends[1][changed]).all()) == whole


def test_every_training_image_is_translated_into_its_target(tmp_path: Path) -> None:
    context = context_of(small_context(tmp_path, PLUGINS))
    both, labels = cycle_gan.untrained(context, 1), context.plain.images.labels[context.plain.pool]
    found = cycle_gan.translated(context, both, 1 - labels)
    images = context.plain.raw(context.plain.pool)
    with torch.no_grad():
        wanted = both.generator(images[5:6], labels[5:6], 1 - labels[5:6])
    assert found.shape == images.shape
    assert found.dtype == torch.uint8
    assert ((wanted * 255).round() - found[5:6].float()).abs().max() <= 1
