"""Changed files for every reader of files, in this process: ``python benchmarks/trust.py fuzz``.

Each input has a number. The number and the seed decide which reader reads it and what :mod:`changed_files` changes in a
small file that is whole, so that any input can be made again.

An input is *taken*, *refused* by an error of this package's own, or a fault: any other exception, an end of the
program, over :data:`SLOW` seconds or :data:`MORE_MEMORY`, or other content that was taken under a checksum.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from changed_files import change_bytes, change_json, change_safetensors, change_text, change_tree, sign_model, sign_tree
from made_run import concept_graph, make_run
from PIL import Image
from safetensors.torch import save

from conceptnet_ml.bench.cases import read_suite
from conceptnet_ml.bench.cells import CellGroup, CellStore
from conceptnet_ml.bench.report import write_report
from conceptnet_ml.bench.results import collect_results
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import resolve_settings
from conceptnet_ml.data.files import check_files, read_image
from conceptnet_ml.drawing.cutting import CutSheet
from conceptnet_ml.drawing.layout import below, draw, framed, text
from conceptnet_ml.drawing.pictures import LAYOUT, to_png
from conceptnet_ml.dreams.cache import FIELDS, DreamCache
from conceptnet_ml.editing.history import EditHistory, decisions_by_hand
from conceptnet_ml.editing.plan import plan_split
from conceptnet_ml.errors import ConceptNetError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.report.figures import Figures
from conceptnet_ml.report.page import write_page
from conceptnet_ml.results.card import model_card
from conceptnet_ml.results.editor import Editor
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.files import write_atomic
from conceptnet_ml.storage.hashing import digest
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.storage.tensors import load_tree, save_tree

SLOW, MORE_MEMORY = 20.0, 2**29
"""Seconds, and bytes that the process may grow by, from which an input is a fault."""

SAVED = 5000
"""Inputs between two writes of the table."""

COUNTS = ("tried", "taken", "refused")


@dataclass
class Reader:
    """Reads a file.

    Args:
        path: The file, whole at first.
        read: Reads it; returns what is to be the same where the file has a checksum, else None.
        change: Bytes to changed bytes.
        share: How many of all inputs are its, relatively.
    """

    path: Path
    read: Callable[[], object]
    change: Callable[[bytes, random.Random], bytes]
    share: float = 1.0
    whole: bytes = field(init=False)
    usual: object = field(init=False)

    def __post_init__(self) -> None:
        self.whole = self.path.read_bytes()
        self.usual = self.read()


def fuzz(count: int, seed: int, table: Path | None = None, only: int | None = None) -> int:
    """Read so many inputs in all; goes on with those of the table's file. Returns how many kinds of faults there are.

    Args:
        count: Inputs in all.
        seed: Decides about them.
        table: Where counts and faults are kept; None to keep none.
        only: The number of the one input that is tried, with its traceback.
    """
    found: dict[str, Any] = {"seed": seed, "next": 0, "readers": {}, "faults": []}
    if table is not None and table.exists():
        found = json.loads(table.read_text())
        if found["seed"] != seed:
            raise SystemExit(f"{table} is of the seed {found['seed']}: name another file")
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _too_slow)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        readers = all_readers(Path(folder))
        if only is not None:
            name, changed = made_input(readers, seed, only)
            print(f"input {only}: {name}, {changed[:2000]!r}")
            readers[name].path.write_bytes(changed)
            print(readers[name].read())
            return 0
        with Stopper() as stopper, Progress(interval=60) as progress, progress.task("fuzz", total=count) as task:
            task.advance(found["next"])
            while found["next"] < count and not stopper.requested:
                _try(readers, seed, found)
                task.advance(1, faults=len(found["faults"]))
                if table is not None and found["next"] % SAVED == 0:
                    write_atomic(table, json.dumps(found, indent=1))
    if table is not None:
        write_atomic(table, json.dumps(found, indent=1))
    _show(found)
    return len(found["faults"])


def made_input(readers: dict[str, Reader], seed: int, number: int) -> tuple[str, bytes]:
    """The name of the reader of an input, and the input."""
    draw = random.Random(f"{seed} {number}")
    (name,) = draw.choices([*readers], [reader.share for reader in readers.values()])
    return name, readers[name].change(readers[name].whole, draw)


def _try(readers: dict[str, Reader], seed: int, found: dict[str, Any]) -> None:
    """Read the next input and count what came of it."""
    number = found["next"]
    name, changed = made_input(readers, seed, number)
    reader, fault = readers[name], ""
    reader.path.write_bytes(changed)
    row = found["readers"].setdefault(name, dict.fromkeys(COUNTS, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, SLOW)
    try:
        result = reader.read()
        row["taken"] += 1
        if reader.usual is not None and result is not None and result != reader.usual:
            fault = "other content was taken under a checksum"
    except ConceptNetError:
        row["refused"] += 1
    except BaseException as error:  # what is looked for; a panic of a library in Rust is no Exception
        fault = f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > MORE_MEMORY:
        fault = fault or "much memory"
    reader.path.unlink(missing_ok=True)
    reader.path.write_bytes(reader.whole)
    row["tried"] += 1
    found["next"] = number + 1
    if fault:
        _note(found["faults"], name, fault, number)


def _note(faults: list[list[Any]], name: str, fault: str, number: int) -> None:
    """Faults that differ in numbers alone are one kind; the first input of each is kept."""
    kind = re.sub(r"\d+", "N", fault)
    for row in faults:
        if row[:2] == [name, kind]:
            row[2] += 1
            return
    faults.append([name, kind, 1, number])


def _show(found: dict[str, Any]) -> None:
    for name, row in sorted(found["readers"].items()):
        print(f"{name:28} {row['tried']:9,} tried, {row['taken']:9,} taken, {row['refused']:9,} refused")
    for name, kind, times, number in found["faults"]:
        print(f"FAULT {name}: {kind} ({times}; the first is --only {number})")
    print(f"{found['next']:,} inputs, {len(found['faults'])} kinds of faults")


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"over {SLOW:g} s")


# ------------------------------------------------------------------------------------------------ readers


def all_readers(folder: Path) -> dict[str, Reader]:
    """Every reader by name, on small files made in the folder."""
    plugins = load_plugins(use_entry_points=False)
    run, parse = make_run(folder / "page"), plugins.get("exporter", "graphml").function("parse")
    _edit(run)
    small = Run.create(folder / "small", Run.open(run).settings, {}, {"python": "3"}, "0")
    small.close()
    graph = ConceptGraph.read(run)
    plugins.get("exporter", "graphml").function("write")(graph, folder / "x.graphml")

    def history() -> None:
        edits = EditHistory(Run.open(run))
        edits.pending(), edits.descriptions(), edits.apply(concept_graph()), edits.digest(9)

    def graph_at(path: Path, parse: Callable[[str], Any] | None = None) -> None:
        read = ConceptGraph.read(path) if parse is None else ConceptGraph.read(path, parse)
        read.check()
        assert ConceptGraph.from_json(read.to_json()) == read, "written and read it is another"

    write_atomic(folder / "graph.json", graph.to_json())
    found = {
        "graph": Reader(folder / "graph.json", lambda: graph_at(folder / "graph.json"), change_json, 3),
        "graph, decided by hand": Reader(run / "graph.json", lambda: _decided(run), change_json, 1),
        "GraphML": Reader(folder / "x.graphml", lambda: graph_at(folder / "x.graphml", parse), change_text, 3),
        "settings": Reader(small.path / "settings.json", lambda: _settings(small.path), change_json, 3),
        "edits": Reader(run / "edits" / "log.json", history, change_json, 2),
    }
    pages = {"summary.json": change_json, "metrics.jsonl": change_text, "environment.json": change_json}
    for name, change in pages.items():
        found[f"page: {name}"] = Reader(run / name, lambda: _page(run, folder / "x.html"), change, 0.0005)
        found[f"card: {name}"] = Reader(run / name, lambda: _card(run), change, 0.02)
    found |= _trees(folder) | _model(small) | _dreams(folder)
    return found | _tables(folder) | _bench(folder) | _pictures(folder)


def _edit(path: Path) -> None:
    """A name, and a split of which only the graph's part is made."""
    run, graph = Run.open(path), ConceptGraph.read(path)
    _save_model(run)
    Editor(path).rename(graph.nodes("feature")[0].id, "wheels")
    plan = plan_split(graph, graph.nodes("unit")[0], 2, (), True)
    entry = {"number": 2, "time": 1.0, "verb": "split", "said": plan.description, "structural": True, "network": "k"}
    history = EditHistory(run)
    history.begin()
    history.commit({**entry, "arguments": {"nodes": []}, "delta": plan.delta.plain()}, {"w": torch.ones(2)})
    run.close()


def _settings(path: Path) -> None:
    Settings.of_run(Run.open(path).settings, path / "settings.json")


def _decided(run: Path) -> None:
    decisions_by_hand(Run.open(run))


def _page(run: Path, out: Path) -> None:
    write_page(run, out)


def _card(run: Path) -> None:
    model_card(Run.open(run))


def _nothing(_: object) -> None:
    """What was read is not compared."""


def _trees(folder: Path) -> dict[str, Reader]:
    """A step's or checkpoint's JSON and its tensors; an adapted model's are the same."""
    path = folder / "step.json"
    tree = {"a": (1, 2.5, None), "b": [True, "x"], 3: {"deep": [float("inf")]}, "w": torch.arange(6.0).reshape(2, 3)}
    save_tree(path, {**tree, "c": torch.ones(2, dtype=torch.complex64), "h": torch.ones(2, dtype=torch.bfloat16)})
    (tensors,) = folder.glob("step-*.safetensors")
    return {
        "step": Reader(path, lambda: _plain(load_tree(path)), change_json, 2),
        "step, signed again": Reader(path, lambda: _nothing(load_tree(path)), sign_tree, 3),
        "step's tensors": Reader(tensors, lambda: _plain(load_tree(path)), change_safetensors, 2),
    }


def _save_model(run: Run) -> None:
    family = {"name": "top.1", "stage": "top", "network": "k", "generalizer": "pooled", "specializer": "linear"}
    networks = {"ordinary": "k", "learned": "k"}
    described = {"classes": ["a", "b"], "image_size": [8, 8], "networks": networks, "families": [family]}
    with run:
        run.save_model({"networks.k.weight": torch.arange(4.0)}, described)


def _model(run: Run) -> dict[str, Reader]:
    _save_model(run)
    names = run.path / "model.json", run.path / "model.safetensors"

    def read() -> object:
        found = _plain(run.load_model())
        return found if json.loads(names[0].read_bytes()).get("own_sha256") else None  # as before there were any

    return {
        "model.json": Reader(names[0], read, change_json, 2),
        "model.json, signed again": Reader(names[0], lambda: read() and None, sign_model, 2),
        "model.safetensors": Reader(names[1], read, change_safetensors, 2),
    }


def _dreams(folder: Path) -> dict[str, Reader]:
    cache, key = DreamCache(folder / "dreams"), "ab" + "0" * 62
    request = SimpleNamespace(objective=None, seed=0)
    fields = dict(zip(FIELDS, (0.5, 2.0, 16, "rose"), strict=True))
    cache.save(key, SimpleNamespace(image=torch.arange(48.0).reshape(3, 4, 4), **fields))  # type: ignore[arg-type]
    (path,) = (folder / "dreams").rglob("*.safetensors")

    def read() -> object:
        """The stored dream, each field of the kind it must have; None where it is taken for missing."""
        dream = cache.load(key, request)  # type: ignore[arg-type]
        if dream is None:
            return None
        before, reached, steps, outcome = (getattr(dream, name) for name in FIELDS)
        assert type(before) is type(reached) is float, "not a dream"
        assert type(steps) is int, "not a dream"
        assert type(outcome) is str, "not a dream"
        assert dream.image.dim() == 3, "not a dream"
        return _plain([dream.image, before, reached, steps, outcome])

    def signed(content: bytes, draw: random.Random) -> bytes:
        """Changed fields with the checksum that fits them; the bytes as they were where they cannot be written."""
        changed = change_tree(fields, draw)
        image = torch.ones(draw.choice(((3, 4, 4), (4, 4), (1, 0, 3), (3, 9, 2), ())))
        with suppress(ValueError):
            text = json.dumps(changed)
            return save({"image": image}, {"dream": text, "sha256": digest(key, json.dumps(json.loads(text)), image)})
        return content

    return {
        "dream": Reader(path, read, change_safetensors, 3),
        "dream, signed again": Reader(path, lambda: read() and None, signed, 1),
    }


def _tables(folder: Path) -> dict[str, Reader]:
    settings, cases = folder / "x.toml", folder / "cases.toml"
    settings.write_text(
        'depth = 2\nseed = 3\n[data]\nsource = "x"\nclasses = ["a", "b"]\nimage_size = [8, 9]\n[probe]\nprice = 0.5\n'
        "[training]\nepochs = 3\nclip = 1e-3\n[plugins]\ncontrols = []\n"
    )
    cases.write_text(
        'seeds = [0, 1]\nmethods = ["ordinary"]\nks = [2]\n[settings]\ndepth = 1\n[cases.mine]\nnote = "x"\n'
        'headline = "test"\ndata.trap = "wheels"\ntraining.epochs = 3\n'
        '[[cases.mine.targets]]\nmeasure = "accuracy"\ntest_set = "test"\nat_least = 3\n'
    )
    return {
        "settings in TOML": Reader(settings, lambda: resolve_settings(settings) and None, change_text, 3),
        "cases in TOML": Reader(cases, lambda: _suite(cases), change_text, 1),
        "table of pictures in CSV": _csv(folder / "csv"),
    }


def _csv(folder: Path) -> Reader:
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (12 * number, 0, 0)).save(folder / f"{number}.png")
    table = folder / "x.csv"
    rows = (f"{n}.png,{'ab'[n % 2]},{('train', 'test')[n > 17]}\n" for n in range(20))
    table.write_text("path,label,split\n" + "".join(rows))
    load = load_plugins(use_entry_points=False).get("dataset", "csv").function("load")
    settings = Settings.model_validate({"data": {"source": f"csv:{table}"}}).data
    return Reader(table, lambda: load(str(table), settings, 0) and None, change_text, 0.2)


def _suite(path: Path) -> None:
    read_suite(path)


def _bench(folder: Path) -> dict[str, Reader]:
    """A bench of two finished cells: gathered, written in words and drawn."""
    cases = folder / "bench.toml"
    cases.write_text('[cases.mine]\nheadline = "test"\ndata.trap = "stripes"\n')
    suite, plugins = read_suite(cases), load_plugins(use_entry_points=False)
    store, case = CellStore(folder / "bench"), suite.cases[0]
    at = store.folder(case, 0)
    common = {"version": 1, "case": "mine", "seed": 0, "state": "done", "ks": list(suite.ks), "draws": suite.draws}
    common |= {"date": "2026-01-01T00:00:00+00:00", "origin": {"commit": "x", "device": "cpu", "torch": "2"}}
    sets = {"test": {"images": 20, "accuracy": 0.9, "worst_group": {"name": "x", "images": 2, "accuracy": 0.5}}}
    for method in ("ordinary", "learned"):
        cost = {"seconds": 3.0, "times_ordinary": 2.0, "partial": False}
        one = {"representation": "pixels", "phi": 0.9, "iota": None, "keep": True}
        rounds = [{"name": "top/classes/1", "decision": "kept", "chosen": "pixels", "representations": [one]}]
        figures = {"test_sets": sets, "cost": cost, "peak_memory_gib": 1.0, "notes": ["x"], "rounds": rounds}
        figures |= {"adaptation": [{"k": 2, "test_sets": {"random": {"accuracy": 0.5}}}], "families": {"family x": {}}}
        figures |= {"turned": [{"k": 0, "accuracy": 0.5}], "decodability": [{"stage": "top", "class": 0.5}]}
        write_atomic(at / f"{method}.cell.json", json.dumps({**common, "method": method, **figures}))
    store.begin(CellGroup(case, 0, ("ordinary", "learned")))

    def read() -> None:
        store.check(suite)
        store.groups(suite, ("ordinary", "learned"))
        write_report(collect_results(suite, store, ("ordinary", "learned"), plugins, {}), folder / "report", plot=False)

    return {
        "bench: cell": Reader(at / "learned.cell.json", read, change_json, 0.3),
        "bench: case": Reader(at / "case.json", read, change_json, 0.1),
    }


def _pictures(folder: Path) -> dict[str, Reader]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    found = {}
    for suffix in ("png", "jpg", "gif", "bmp", "webp", "tif", "ppm"):
        path = folder / f"x.{suffix}"
        Image.fromarray(pixels).save(path)
        found[f"picture: {suffix}"] = Reader(path, lambda path=path: _picture(path), change_bytes, 0.2)  # type: ignore[misc]
    content = io.BytesIO()
    np.save(content, pixels)
    (folder / "x.npy").write_bytes(content.getvalue())
    found["picture: npy"] = Reader(folder / "x.npy", lambda: _picture(folder / "x.npy"), change_bytes, 0.4)
    found["sheet"] = _sheet(folder / "sheet.png")
    return found


def _sheet(path: Path) -> Reader:
    """A picture that says what stands where in it."""
    sheet = draw(below([framed(Image.new("RGB", (9, 8))), text("seen: car", 12)], gap=4))
    path.write_bytes(to_png(sheet))

    def change(content: bytes, draw: random.Random) -> bytes:
        if draw.random() < 0.3:
            return change_bytes(content, draw)
        other = sheet.copy()
        other.info[LAYOUT] = change_json(sheet.info[LAYOUT].encode(), draw).decode("latin-1")
        return to_png(other)

    return Reader(path, lambda: _whole(Figures(path.parent).sheet(path.name)), change, 0.3)


def _whole(sheet: CutSheet) -> None:
    for one in sheet.cuttings:
        assert min(one.image.size) > 0, "an empty picture"


def _picture(path: Path) -> None:
    check_files([path], 1.0)
    read_image(path, (8, 8), 1.0)


def _plain(value: Any) -> Any:
    """What is compared: values, their types, and every bit of tensors."""
    if isinstance(value, torch.Tensor):
        numbers = torch.view_as_real(value) if value.is_complex() else value
        return [str(value.dtype), *value.shape, numbers.contiguous().reshape(-1).view(torch.uint8).tolist()]
    if isinstance(value, dict):
        return sorted([repr(key), _plain(item)] for key, item in value.items())
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_plain, value)]
    return [repr(value)]
