"""What a bench measures: cases, methods, seeds and targets, read from a TOML file and checked before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from conceptnet_ml.bench.matrix import NONE, Axis, MatrixTable
from conceptnet_ml.config.plugin_settings import PluginModels
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import DEFAULT, flat_tables, flatten, read_toml, resolve_settings
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import DataError, SettingsError, nearest

SHIPPED = Path(__file__).with_name("cases.toml")
"""The cases that are measured when no file is given."""

MATRIX = Path(__file__).with_name("matrix.toml")
"""Those of ``--matrix``."""

ORDINARY, LEARNED, FORCED = "ordinary", "learned", "forced-round"
FOLDERS = ("pictures", "cifar", "mnist")
"""Variables of the shipped cases; each has a flag of its own."""
_VARIABLE = re.compile(r"\{(\w+)\}")


Measure = Literal["accuracy", "adapted", "turned", "cost", "recovery", "harm", "worst"]


class BenchTarget(BaseModel):
    """What a figure should reach, in points of per cent (``cost``: × ordinary training; ``recovery``: a share of 1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: Measure = "accuracy"
    method: str = LEARNED
    test_set: str | None = None
    k: int | None = Field(None, ge=0)
    kept: int | None = Field(None, ge=1)
    at_least: float | None = None
    at_most: float | None = None
    within: float | None = Field(None, ge=0)
    of: str | None = None

    @model_validator(mode="after")
    def _check(self) -> BenchTarget:
        needs = {"accuracy": ("test_set",), "adapted": ("test_set", "k"), "turned": ("k",)}
        missing = [name for name in needs.get(self.measure, ()) if getattr(self, name) is None]
        if missing:
            raise ValueError(f"measure '{self.measure}' needs {' and '.join(missing)}")
        if sum(bound is not None for bound in (self.at_least, self.at_most, self.within)) != 1:
            raise ValueError("give one of at_least, at_most and within")
        if (self.within is None) != (self.of is None):
            raise ValueError("'within' and 'of' go together: within = 1, of = \"ordinary\"")
        return self

    def words(self) -> str:
        """``conflict ≥ 94``, ``random after 2 a class: within 2 of unbiased``."""
        what = {
            "accuracy": f"{self.test_set}",
            "adapted": f"{self.test_set} after {self.k} a class",
            "turned": f"the world turned round, after {self.k} a class",
            "cost": "cost" if self.kept is None else f"cost of {self.kept} kept round{'s' if self.kept > 1 else ''}",
            "recovery": "recovery",
            "harm": "harm in points",
            "worst": f"worst group of {self.test_set}" if self.test_set else "worst group",
        }[self.measure]
        unit = " × ordinary" if self.measure == "cost" else ""
        if self.within is not None:
            bound = f"within {self.within:g} of {self.of}"
        elif self.at_least is not None:
            bound = f"≥ {self.at_least:g}{unit}"
        else:
            bound = f"≤ {self.at_most:g}{unit}"
        return f"{'' if self.method == LEARNED else self.method + ', '}{what} {bound}"


class CaseTable(BaseModel):
    """What a case of the file says about itself; everything else in its table is a setting.

    ``headline`` is the test set it is about and ``show`` those of the plot, ``also`` are methods for this case only.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    note: str = ""
    headline: str | None = None
    show: tuple[str, ...] | None = None
    also: tuple[str, ...] = ()
    targets: tuple[BenchTarget, ...] = ()


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seeds: int | tuple[int, ...] = 3
    methods: tuple[str, ...] | None = None
    ks: tuple[NonNegativeInt, ...] = (0, 2, 4, 8, 16, 64)
    draws: int = Field(10, ge=1)
    ceiling: str = "unbiased"
    settings: dict[str, Any] = {}
    folders: dict[str, str] = {}
    targets: tuple[BenchTarget, ...] = ()
    cases: dict[str, CaseTable] = {}
    matrix: MatrixTable | None = None

    @model_validator(mode="after")
    def _check(self) -> _File:
        if not self.cases and self.matrix is None:
            raise ValueError("there are no cases: give [cases.NAME] or [matrix]")
        return self


@dataclass(frozen=True)
class Case:
    """One row group of the table.

    Args:
        name: As the file names it.
        settings: Checked settings, with the folders that are known.
        changes: What differs from the defaults, by dotted name; ``{pictures}`` and the like as they are in the file.
        about: Its table in the file.
        targets: Its own and those for all cases that apply.
        marks: Settings of this case alone that say more than what its data is: a miss in the comparison.
        missing: Variables without a folder; such a case is left out.
        place: Where it stands in a matrix, by axis; empty where it stands in none.
    """

    name: str
    settings: Settings
    changes: Mapping[str, Any]
    about: CaseTable
    targets: tuple[BenchTarget, ...] = ()
    marks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    place: Mapping[Axis, str] = field(default_factory=dict)

    @property
    def planted(self) -> bool:
        """Whether there is a trap in its images."""
        return self.settings.data.trap != NONE

    @property
    def needs(self) -> str:
        """The flags that would have to be given; empty if none."""
        return "needs " + ", ".join(map(flag_of, self.missing)) if self.missing else ""

    def identity(self) -> dict[str, Any]:
        """Every setting by dotted name as it is in the file: the same wherever the folders lie."""
        return {**flatten(self.settings), **self.changes}

    def with_seed(self, seed: int) -> Settings:
        """The settings of one seed's run. The controls are cells of their own, so the run trains none; nor does it draw
        the dreams of its graph, which no figure needs."""
        plugins = self.settings.plugins.model_copy(update={"controls": (), "dreamer": "none"})
        return self.settings.model_copy(update={"seed": seed, "plugins": plugins})

    def methods(self, common: Iterable[str]) -> tuple[str, ...]:
        """The methods of the case: the common ones and its own."""
        return tuple(dict.fromkeys((*common, *self.about.also)))


@dataclass(frozen=True)
class Suite:
    """Everything that is to be measured.

    Args:
        source: Name of the file.
        cases: In the order of the file.
        methods: In the order of the table; None for ordinary, learned and every baseline there is.
        seeds: Seeds of the runs.
        ks: Labelled examples per class to adapt on.
        draws: How often those examples are drawn.
        common: Settings that differ from the defaults in all cases alike, as the file has them.
        folders: Variables and their folders.
        about: Variables, and what their folder holds and how to get it.
        targets: Those that the file has for all cases.
        command: What the tables say they were made with.
        ceiling: The method that is shown the cue at random: what can be reached.
    """

    source: str
    cases: tuple[Case, ...]
    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    ks: tuple[int, ...] = (0, 2, 4, 8, 16, 64)
    draws: int = 10
    common: Mapping[str, Any] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[BenchTarget, ...] = ()
    command: str = ""
    ceiling: str = "unbiased"

    def only(
        self,
        cases: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        seeds: str | Iterable[int] | None = None,
    ) -> Suite:
        """The part of it with these cases, methods and seeds; None leaves one as it is. A case is named or is a pattern
        with ``*``. Raises SettingsError for a case that is not in the file, or seeds that are none.
        """
        part = self
        if cases is not None:
            known, wanted = [case.name for case in self.cases], set[str]()
            file = {SHIPPED.name: "", MATRIX.name: "--matrix "}.get(self.source, f"{self.source} ")
            for name in cases:
                found = {name} & set(known) or {one for one in known if fnmatchcase(one, name)}
                if not found:
                    raise SettingsError(
                        f"--case: {self.source} has no case '{name}'.", nearest(name, known, f"bench {file}--list")
                    )
                wanted |= found
            part = replace(part, cases=tuple(case for case in self.cases if case.name in wanted))
        if methods is not None:
            bare = tuple(replace(case, about=case.about.model_copy(update={"also": ()})) for case in part.cases)
            part = replace(part, methods=tuple(dict.fromkeys(methods)), cases=bare)
        return part if seeds is None else replace(part, seeds=parse_seeds(seeds))

    def cells(self, methods: Iterable[str]) -> Iterator[tuple[Case, int, str]]:
        """Case, seed and method of every cell, where these are the common methods."""
        own = {case.name: case.methods(methods) for case in self.cases}
        return ((case, seed, method) for case in self.cases for seed in self.seeds for method in own[case.name])

    def hide_folders(self, value: Any) -> Any:
        """A value whose texts have ``{name}`` for every folder's path, longest first: the same on every machine."""
        if isinstance(value, str):
            for name, path in sorted(self.folders.items(), key=lambda item: -len(item[1])):
                value = value.replace(path, f"{{{name}}}")
            return value
        if isinstance(value, list):
            return [self.hide_folders(item) for item in value]
        return {key: self.hide_folders(item) for key, item in value.items()} if isinstance(value, dict) else value


def read_suite(
    path: str | Path | None = None,
    folders: Mapping[str, str | None] | None = None,
    assignments: Iterable[str] = (),
    backbones: Iterable[str] | None = None,
    models: PluginModels = MappingProxyType({}),
) -> Suite:
    """Read a file of cases. Raises SettingsError where the file cannot be read or has something that is not allowed,
    DataError for a folder that is not there.

    Args:
        path: A TOML file; default: the cases that come with the package.
        folders: The folder of ``{name}`` in the settings; a case that needs one that is None or absent is left out.
        assignments: ``"a.b=c"``, settings for all cases, over those of the file.
        backbones: Networks of the matrix, in place of the file's.
        models: What the loaded plugins declare, ``Plugins.models``: cases may set that, too.
    """
    path = SHIPPED if path is None else Path(path)
    given = {name: value for name, value in (folders or {}).items() if value is not None}
    known = {name: str(Path(os.path.expanduser(value)).resolve()) for name, value in given.items()}
    file = _parse(path)
    for name, value in given.items():
        if not Path(known[name]).is_dir():
            flag, what = flag_of(name).replace("FOLDER", value), file.folders.get(name)
            mend = f"Check the path. It holds {what}." if what else "Check the path."
            raise DataError(f"{flag}: there is no folder {known[name]}.", mend)
    matrix = file.matrix
    if backbones is not None:
        if matrix is None:
            raise SettingsError(f"--backbone: {path.name} has no [matrix].", "Use it with --matrix.")
        matrix = matrix.model_copy(update={"backbones": tuple(backbones)})
    command = resolve_settings(None, assignments, models=models)
    over = {name: value for name, value in flatten(command.settings).items() if command.origins[name] != DEFAULT}
    base = dict(flat_tables(file.settings, path.name, models=models))
    defaults = flatten(Settings())
    suite = Suite(
        path.name,
        (),
        methods=file.methods,
        seeds=parse_seeds(str(file.seeds) if isinstance(file.seeds, int) else file.seeds),
        ks=tuple(sorted(set(file.ks))),
        draws=file.draws,
        common={name: value for name, value in {**base, **over}.items() if value != defaults.get(name)},
        folders=known,
        about=file.folders,
        targets=file.targets,
        ceiling=file.ceiling,
    )
    given_to_all = _ForAll(base, over, models)
    cases = [_case(suite, name, table, given_to_all) for name, table in file.cases.items()]
    for place, own in matrix.cells() if matrix is not None else ():
        case = _case(suite, "/".join(place.values()), CaseTable.model_validate(own), given_to_all)
        marks = tuple(mark for mark in case.marks if not mark.startswith("network.backbone="))
        cases.append(replace(case, place=place, marks=marks))
    return replace(suite, cases=tuple(cases))


def parse_seeds(seeds: str | Iterable[int]) -> tuple[int, ...]:
    """``"3"`` → (0, 1, 2); ``"0,4"`` → (0, 4); ``"4,"`` → (4,); numbers as they are. Raises SettingsError for anything
    else, no seed, or one below 0.
    """
    if isinstance(seeds, str):
        parts = [part.strip() for part in seeds.split(",")]
        if len(parts) == 1 and parts[0].isdecimal() and int(parts[0]) > 0:
            return tuple(range(int(parts[0])))
        given = [part for part in parts if part]
        if len(parts) == 1 or not given or not all(part.isdecimal() for part in given):
            raise SettingsError(f"--seeds '{seeds}': no seeds.", "Give how many, as in 3, or which, as in 0,1,2.")
        seeds = map(int, given)
    found = tuple(dict.fromkeys(seeds))
    if not found or any(seed < 0 for seed in found):
        raise SettingsError("seeds: at least one, none below 0.", "Give how many, as in 3, or which, as in 0,1,2.")
    return found


def flag_of(name: str) -> str:
    """The flag that gives a variable its folder."""
    return f"--{name} FOLDER" if name in FOLDERS else f"--folder {name}=FOLDER"


@dataclass(frozen=True)
class _ForAll:
    """What all cases share: the file's settings for all, those of the command line, and what plugins declare."""

    base: Mapping[str, Any]
    over: Mapping[str, Any]
    models: PluginModels


def _case(suite: Suite, name: str, table: CaseTable, common: _ForAll) -> Case:
    """A case of the file."""
    where = f"{suite.source}: case '{name}'"
    own = dict(flat_tables(table.model_extra or {}, where, models=common.models))
    if "seed" in own:
        raise SettingsError(f"{where} sets a seed.", "Seeds are the same for all cases: seeds = 3.")
    missing: list[str] = []

    def folder(match: re.Match[str]) -> str:
        if match[1] not in suite.folders:
            missing.append(match[1])
        return suite.folders.get(match[1], match[0])

    written = {**common.base, **own, **common.over}
    values = {key: _VARIABLE.sub(folder, value) if isinstance(value, str) else value for key, value in written.items()}
    try:
        settings = resolve_settings(None, (), values, common.models).settings
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.message}", error.mend) from error
    if settings.training.epochs == 0:
        raise SettingsError(f"{where}: training.epochs is 0.", "Costs are told in ordinary trainings: at least 1.")
    defaults = flatten(Settings())
    changes = {key: value for key, value in written.items() if key not in defaults or values[key] != defaults[key]}
    marks = (f"{key}={show_value(changes[key])}" for key in changes if key in own and not key.startswith("data."))
    case = Case(name, settings, changes, table, (), tuple(marks), tuple(dict.fromkeys(missing)))
    apply = {"accuracy", "cost", "harm"} if not case.planted else set(get_args(Measure)) - {"harm"}
    return replace(case, targets=(*table.targets, *(one for one in suite.targets if one.measure in apply)))


def _parse(path: Path) -> _File:
    tables = read_toml(path, "", '[cases.mine], and below it data.trap = "wheels".')
    try:
        return _File.model_validate(tables)
    except ValidationError as error:
        problems = [
            f"{path.name}: {'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()
        ]
        mend = "A file of cases has seeds, methods, ks, draws, ceiling, settings, targets, [cases.NAME] and [matrix]."
        raise SettingsError("\n".join(problems), mend) from error
