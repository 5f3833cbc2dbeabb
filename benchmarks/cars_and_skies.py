"""Clouds turned into cars, the texts' own example, drawn by the embedded renderer, and a control, as a file of plugins:

    conceptnet-ml bench benchmarks/dreamed_sets.toml --cifar FOLDER --plugins-dir benchmarks/cars_and_skies.py

``cars-and-skies`` has cars in streets and before walls, and skies with nothing in them; ``cars-and-bare-poodles`` has
two telling sets more than the embedded data: gigantic cars, and poodles without curls.

``anew`` has the images alone, from fresh weights for as long as methods that train anew, ``thrice`` for as long as two
generations after the ordinary network take. ``amplify`` is ``amplify-ungated`` with gates: it may leave the ordinary
network as it is, which no built-in baseline may. ``both-ways`` dreams every image toward the other class, as
``clouds-to-cars`` does to one of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import Baseline, BaselineContext, Data, Dataset, ImageSet, StagedNetwork, hookimpl
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.runtime.seeding import seed_for
from conceptnet_plugins.baselines import amplify, clouds_to_cars
from conceptnet_plugins.datasets import cars_and_poodles
from conceptnet_plugins.datasets.cars_and_poodles import CAR, POODLE, TELLING_SETS, Wish, _light, render
from conceptnet_plugins.datasets.scenery import sky

TRAIN, TEST = 300, 300
STREET, GIGANTIC = Wish(CAR, scene="town"), Wish(CAR, gigantic=True)


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Cars (0) and skies (1), 64 px; telling sets of cars in the sky and of gigantic cars."""
    count = min(TRAIN, settings.train_limit or TRAIN)
    tests = {"test": both("test", TEST, seed)}
    wishes = {"car_in_the_sky": TELLING_SETS["car_in_the_sky"], "gigantic_car": GIGANTIC}
    tests |= {name: render(name, [wish] * TEST, seed) for name, wish in wishes.items()}
    plain = {name: ImageSet(images.images, images.labels) for name, images in tests.items()}
    return Data("cars-and-skies", ("car", "sky"), both("train", count, seed), plain)


def bare(argument: str, settings: DataSettings, seed: int) -> Data:
    """The embedded data, gigantic cars, and poodles that nothing but their bodies tells."""
    data = cars_and_poodles.load(argument, settings, seed)
    wishes = {"gigantic_car": GIGANTIC, "poodle_without_curls": Wish(POODLE, curls=False)}
    further = {name: render(name, [wish] * TEST, seed) for name, wish in wishes.items()}
    return replace(data, tests={**data.tests, **further})


def both(name: str, count: int, seed: int) -> ImageSet:
    """So many cars, then so many skies."""
    cars = render(name, [STREET] * count, seed)
    skies = torch.stack([sky_picture(seed_for(seed, "cars-and-skies", name, place)) for place in range(count)])
    return ImageSet(torch.cat([cars.images, skies]), torch.arange(2).repeat_interleave(count))


def sky_picture(seed: int) -> Tensor:
    """uint8 (3, 64, 64)."""
    random = np.random.default_rng(seed)
    colours, _ = sky(random).finish()
    return torch.from_numpy(_light(random, colours)).permute(2, 0, 1)


def anew(context: BaselineContext) -> StagedNetwork:
    """The images alone."""
    return context.train("train", context.fresh(), context.plain, context.ordinary_epochs + context.epochs)


def thrice(context: BaselineContext) -> StagedNetwork:
    """The images alone, from fresh weights for as long as the ordinary network and two after it take."""
    return context.train("train", context.fresh(), context.plain, 3 * context.ordinary_epochs)


def both_ways(context: BaselineContext) -> StagedNetwork:
    """Every image beside its dream toward the other of two classes, by the network as it is at that step."""
    epochs = context.ordinary_epochs + context.epochs
    return context.train("train", context.fresh(), context.plain, epochs, objective=against_both)


def against_both(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of images and dreams."""
    dreams = clouds_to_cars.climb(network, images, 1 - labels)
    return functional.cross_entropy(network(torch.cat([images, dreams])).float(), labels.repeat(2))


@hookimpl
def conceptnet_datasets() -> list[Dataset]:
    """The example, and the embedded data with one set more."""
    return [
        Dataset(name="cars-and-skies", api="1", load=load, summary="drawn cars in town, and skies"),
        Dataset(
            name="cars-and-bare-poodles", api="1", load=bare, summary="the embedded data, and poodles without curls"
        ),
    ]


@hookimpl
def conceptnet_baselines() -> list[Baseline]:
    """The controls."""
    return [
        Baseline(name="anew", api="1", fit=anew, summary="the images alone, from fresh weights"),
        Baseline(
            name="amplify", api="1", fit=amplify.fit, argument="count", summary="amplify-ungated, while gates agree"
        ),
        Baseline(name="thrice", api="1", fit=thrice, summary="the images alone, three times as long as ordinary"),
        Baseline(name="both-ways", api="1", fit=both_ways, summary="every image dreamed toward the other class"),
    ]
