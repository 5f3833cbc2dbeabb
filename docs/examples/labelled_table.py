"""A data set: pictures listed in a table, as labels come out of a spreadsheet or an annotation tool.

The table is a CSV file with the columns ``file``, relative to it, ``class`` and ``part``, which is ``train``, ``test``
or the name of a further test set.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from conceptnet_ml import Data, Dataset, ImageSet, hookimpl
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import both_sides, read_image
from conceptnet_ml.errors import DataError

SIDE = 64
"""In px, where ``data.image_size`` says nothing."""


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Read the pictures of ``--data labelled:TABLE.csv``, scaled to cover one size and cut to it.

    Raises:
        DataError: The table or a picture cannot be read, or there is no test picture.
    """
    table = Path(argument)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = [(row["part"], table.parent / row["file"], row["class"]) for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise DataError(f"cannot read '{table}': {error}", "It needs the columns file, class and part.") from error
    size = both_sides(settings.image_size or SIDE)
    classes = tuple(sorted({label for _, _, label in rows}))
    sets = {}
    for part in dict.fromkeys(part for part, _, _ in rows):
        files = [(file, classes.index(label)) for one, file, label in rows if one == part]
        images = torch.stack([read_image(file, size) for file, _ in files])
        named = [file.as_posix() for file, _ in files]
        sets[part] = ImageSet(images, torch.tensor([label for _, label in files])).with_files(named)
    if not {"train", "test"} <= sets.keys():
        raise DataError(f"'{table}' has no row of train or none of test", "Name both in the column part.")
    return Data(f"labelled:{argument}", classes, sets.pop("train"), sets)


@hookimpl
def conceptnet_datasets() -> list[Dataset]:
    return [Dataset(name="labelled", api="1", load=load, summary="pictures listed in a CSV file: file, class, part")]
