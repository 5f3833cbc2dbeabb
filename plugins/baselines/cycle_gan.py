"""CycleGAN: a generator turns images of one class into images of another, and back again."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from conceptnet_ml import BaselineContext, SettingsError, StagedNetwork

from ..dreamers import swap
from .dream_datasets import elsewhere
from .dreamed import as_bytes, beside, dreamed

WIDTH, BLOCKS, CELLS = 16, 3, 16
"""Channels at the images' own size, twice as many at each half of it; residual blocks, at CELLS px or fewer."""
CYCLE, IDENTITY = 10.0, 5.0
"""Weights beside the generator's contest, for images in [−1, 1] as in the paper; the second is half of the first."""
NOISE = 8 / 255
"""Deviation of the noise on a translation before the way back, for images in [0, 1]: a generator hides its source in
high frequencies if it can (Chu, Zhmoginov and Sandler, arXiv 1712.02950)."""
POOL = 50
"""Translations of before that the discriminator is also shown."""
BATCH = 8
"""Images a step, of which a batch of the run has several."""
RATE, MEANS = 2e-4, (0.5, 0.999)
"""Of Adam; the rate falls to nothing over the second half."""
LEAST = 20
"""Images a class."""


class Generator(nn.Module):
    """Images (B, C, H, W) in [0, 1], classes they are of (B,) and are to be of (B,), to images; one at a time."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        halves = 0
        while side >> halves > CELLS:
            halves += 1
        widths = [WIDTH << place for place in range(halves + 1)]
        self.first = _layer(channels + 2 * classes, WIDTH)
        self.down = nn.Sequential(*(_layer(one, 2 * one, 2) for one in widths[:-1]))
        self.blocks = nn.ModuleList(_block(widths[-1]) for _ in range(BLOCKS))
        self.up = nn.ModuleList(_layer(2 * one, one) for one in reversed(widths[:-1]))
        self.last = nn.Conv2d(WIDTH, channels, 3, padding=1)

    def forward(self, images: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        hot = [functional.one_hot(one, self.classes).to(images) for one in (sources, targets)]
        planes = torch.cat(hot, 1)[:, :, None, None].expand(-1, -1, *images.shape[2:])
        maps = self.first(torch.cat([images * 2 - 1, planes], 1))
        sizes = []
        for layer in self.down:
            sizes.append(maps.shape[2:])
            maps = layer(maps)
        for block in self.blocks:
            maps = maps + block(maps)
        for layer, size in zip(self.up, reversed(sizes), strict=True):
            maps = layer(functional.interpolate(maps, size))
        return (images.clamp(0.02, 0.98).logit() + self.last(maps)).sigmoid()


def _block(width: int) -> nn.Sequential:
    one, other = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    norms = [nn.InstanceNorm2d(width, affine=True) for _ in range(2)]
    return nn.Sequential(one, norms[0], nn.ReLU(), other, norms[1])


def _layer(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Without a norm: an instance norm takes away how light an image is, and of which colour."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.ReLU())


def discriminator(channels: int, classes: int) -> nn.Sequential:
    """Images to maps (B, K, h, w): whether each patch could be of an image of class k."""
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1),
        nn.InstanceNorm2d(2 * WIDTH, affine=True),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * WIDTH, 4 * WIDTH, 3, 1, 1),
        nn.InstanceNorm2d(4 * WIDTH, affine=True),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * WIDTH, classes, 3, 1, 1),
    )


class Translator(nn.Module):
    """Generator, discriminator, their optimizers' memory and the pool of translations, all of it in the state: a
    stopped training goes on as if it had not been stopped.

    Args:
        shape: (C, H, W) of the images.
        classes: How many.
        images: How many the training will have seen in all.
        seed: Of what is drawn in a step.
    """

    seen: Tensor
    taken: Tensor
    pool: Tensor
    pooled: Tensor
    filled: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int, images: int, seed: int) -> None:
        super().__init__()
        self.generator = Generator(shape[0], max(shape[1:]), classes).requires_grad_(False)
        self.discriminator = discriminator(shape[0], classes).requires_grad_(False)
        self.classes, self.images, self.seed = classes, images, seed
        self.idle = nn.Parameter(torch.zeros(()))  # the run's optimizer has nothing else to step
        for name in ("seen", "taken", "filled"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        for name in ("generator", "discriminator"):
            count = sum(weight.numel() for weight in getattr(self, name).parameters())
            self.register_buffer(f"{name}_slopes", torch.zeros(count))
            self.register_buffer(f"{name}_squares", torch.zeros(count))
        self.register_buffer("pool", torch.zeros(POOL, *shape))
        self.register_buffer("pooled", torch.zeros(POOL, dtype=torch.int64))

    def forward(self, images: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        return self.generator(images, sources, targets)  # type: ignore[no-any-return]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step of both; returns the generator's loss."""
        random = torch.Generator().manual_seed((self.seed + int(self.seen)) % 2**63)
        away = torch.randint(1, self.classes, (len(images),), generator=random).to(labels)
        targets = (labels + away) % self.classes
        weights = {name: one.detach().requires_grad_() for name, one in self.generator.named_parameters()}
        generate = partial(functional_call, self.generator, weights)
        drawn = NOISE * torch.randn(images.shape, generator=random).to(images)
        both = generate((images.repeat(2, 1, 1, 1), torch.cat([labels, targets]), torch.cat([targets, labels])))
        fakes, same = both.chunk(2)
        back = generate((fakes + drawn, targets, labels))
        seems = own(self.discriminator(fakes), targets)
        apart = [2 * (one - images).abs().mean() for one in (back, same)]
        loss = (seems - 1).square().mean() + CYCLE * apart[0] + IDENTITY * apart[1]
        shown = self._replayed(fakes.detach(), targets, random)
        self._adam("generator", torch.autograd.grad(loss, list(weights.values())))
        self._judge(images, labels, *shown)
        self.seen += len(images)
        return loss.detach()

    def _judge(self, images: Tensor, labels: Tensor, fakes: Tensor, targets: Tensor) -> None:
        """One step of the discriminator on images and translations."""
        weights = {name: one.detach().requires_grad_() for name, one in self.discriminator.named_parameters()}
        maps = functional_call(self.discriminator, weights, (torch.cat([images, fakes]),))
        real, fake = own(maps, torch.cat([labels, targets])).chunk(2)
        loss = ((real - 1).square().mean() + fake.square().mean()) / 2
        self._adam("discriminator", torch.autograd.grad(loss, list(weights.values())))

    def _replayed(self, fakes: Tensor, targets: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Translations as they are or, half of them once the pool is full, in exchange for some of before."""
        shown, classes = fakes.clone(), targets.clone()
        for place in range(len(fakes)):
            full = int(self.filled) == POOL
            keep, slot = (torch.rand((), generator=random) < 0.5), int(torch.randint(POOL, (), generator=random))
            if full and not keep:
                continue
            slot = slot if full else int(self.filled)
            if full:
                shown[place], classes[place] = self.pool[slot], self.pooled[slot]
            else:
                self.filled += 1
            self.pool[slot], self.pooled[slot] = fakes[place], targets[place]
        return shown, classes

    @torch.no_grad()
    def _adam(self, name: str, slopes: tuple[Tensor, ...]) -> None:
        """A step of Adam on the weights of the part of this name."""
        weights = list(getattr(self, name).parameters())
        mean, square = getattr(self, f"{name}_slopes"), getattr(self, f"{name}_squares")
        if name == "generator":
            self.taken += 1
        flat = torch.cat([slope.flatten().float() for slope in slopes])
        mean.lerp_(flat, 1 - MEANS[0])
        square.lerp_(flat.square(), 1 - MEANS[1])
        taken, left = int(self.taken), 1 - int(self.seen) / self.images
        rate = RATE * min(1.0, 2 * left) / (1 - MEANS[0] ** taken)
        change = rate * mean / ((square / (1 - MEANS[1] ** taken)).sqrt() + 1e-8)
        for weight, part in zip(weights, change.split([weight.numel() for weight in weights]), strict=True):
            weight.sub_(part.view(weight.shape))


def own(maps: Tensor, classes: Tensor) -> Tensor:
    """Of maps (B, K, h, w) each image's class's, (B, h, w), fp32."""
    return maps[torch.arange(len(maps)), classes].float()


def learning(translator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """As many steps as the batch has of :data:`BATCH` images; the mean of the generator's losses."""
    assert isinstance(translator, Translator)
    losses = [translator.step(*some) for some in zip(images.split(BATCH), labels.split(BATCH), strict=True)]
    return torch.stack(losses).mean() + 0 * translator.idle


def translator_of(context: BaselineContext) -> Translator:
    """The translator of the training images, trained for as many epochs as the learner's network had in all.

    Raises:
        SettingsError: A class has too few images.
    """
    plain = context.plain
    counts = plain.images.labels[plain.pool].bincount(minlength=context.classes).tolist()
    if min(counts) < LEAST:
        raise SettingsError(
            f"a CycleGAN takes {LEAST} images a class, and '{context.class_names[counts.index(min(counts))]}' has "
            f"{min(counts)} to train on",
            "Give more images, hold out fewer (data.holdout), or leave this baseline out.",
        )
    epochs = context.ordinary_epochs + context.epochs
    return context.train("translator", untrained(context, epochs), plain, epochs, objective=learning)


def untrained(context: BaselineContext, epochs: int) -> Translator:
    """A translator with new weights, to be trained for so many epochs."""
    channels, height, width = context.plain.raw(context.plain.pool[:1]).shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed("translator"))
        seen = max(1, epochs * len(context.plain))
        translator = Translator((channels, height, width), context.classes, seen, context.seed("steps"))
    return translator.to(context.device)


def translated(context: BaselineContext, translator: Translator, targets: Tensor) -> Tensor:
    """uint8 (N, C, H, W): each training image in the class of its target (N,)."""

    @torch.no_grad()
    def compute(places: Tensor) -> Tensor:
        numbers = context.plain.pool[places]
        images, labels = context.plain.raw(numbers), context.plain.images.labels[numbers]
        return as_bytes(translator(images, labels.to(context.device), targets[places].to(context.device)))

    return context.batched("translate", compute)


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights on images and on what each has of its translation, under the image's label.

    A translation stays among images, where a DeepDream leaves them, but it changes all that tells the class, the object
    too. So it is the donor of an exchange: through a gate comes in as little of it as makes the ordinary network see
    the other class. Zhu et al., arXiv 1703.10593, with one generator for all classes, told which class the image is of
    and is to be of, and added to the image before the last sigmoid, so that it begins as the identity.

    Cost: the translator's training, about eight times that of as much plain training with the default network, 48
    passes for each image's exchange, and training from fresh weights.
    """
    targets = elsewhere(context, 1)
    donors = translated(context, translator_of(context), targets)
    dreams = dreamed(context, "dream", context.ordinary, context.plain, targets, swap.recipe(), donors)
    return _train_beside(context, dreams)


def literal(context: BaselineContext) -> StagedNetwork:
    """As :func:`fit`, with the whole translation in the exchange's place."""
    return _train_beside(context, translated(context, translator_of(context), elsewhere(context, 1)))


def _train_beside(context: BaselineContext, dreams: Tensor) -> StagedNetwork:
    shown = beside(context.plain, context.views(dreams))
    return context.train("train", context.fresh(), shown, context.ordinary_epochs + context.epochs)
