"""Built-in data sets. Nothing here imports torch, so that listing them is quick."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Dataset


@hookimpl
def conceptnet_datasets() -> list[Dataset]:
    """The built-in data sets."""
    return [
        Dataset(
            name="cars-and-poodles",
            api="1",
            summary="drawn cars and poodles with known parts and telling test sets; argument: nothing or 'tinted'",
            load="conceptnet_plugins.datasets.cars_and_poodles:load",
        ),
        Dataset(
            name="glyphs",
            api="1",
            summary="drawn grey signs, 32 px; argument: N or N:faint, N from 2 to 100 classes, default 10",
            load="conceptnet_plugins.datasets.glyphs:load",
        ),
        Dataset(
            name="folder",
            api="1",
            summary="a folder with one subfolder per class, or train/ and test/ of these; argument: its path",
            load="conceptnet_plugins.datasets.folder:load",
            groups=True,
        ),
        Dataset(
            name="csv",
            api="1",
            summary="images that a CSV file names: columns path, label and, where you like, split; argument: its path",
            load="conceptnet_plugins.datasets.csv_table:load",
        ),
        Dataset(
            name="hf",
            api="1",
            summary="a data set of Hugging Face's datasets; argument: OWNER/NAME of the hub, or a path",
            load="conceptnet_plugins.datasets.hugging_face:load",
        ),
        Dataset(
            name="torchvision",
            api="1",
            summary="a torchvision classification data set; argument: its name, as in torchvision:CIFAR10",
            load="conceptnet_plugins.datasets.torchvision_sets:load",
        ),
    ]
