"""Does the stop rule hold on cases it was not made on? What is right, what was decided, and why, case by case.

    python benchmarks/stop_rule.py --cifar FOLDER --mnist ROOT --pictures FOLDER --out runs/stop-rule

``--cifar`` holds train/CLASS/* and test/CLASS/*, ``--mnist`` is what torchvision's MNIST takes as its root,
``--pictures`` an ImageFolder of cars and dogs. A case whose pictures are not given is left out. Finished cases are
read, not repeated. ``--rule`` takes another rule than the built-in one, from ``--plugins-dir`` or an installed package;
its runs are in OUT/RULE. Every round decides: one cue means one round that is to be kept and a second that is not; no
cue means a first round that is not. Prints Markdown and writes OUT/stop-rule.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptnet_ml import Settings, learn, load_plugins


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        source: ``cifar``, ``mnist``, ``pictures`` or ``embedded``.
        classes: Of the source; empty for all.
        trap: As in ``data.trap``.
        right: For each round, the representation that is to be kept; none at the end.
        backbone: The network.
        more: Further settings of the data.
    """

    source: str
    classes: tuple[str, ...] = ()
    trap: str = "none"
    right: tuple[str, ...] = ()
    backbone: str = "small"
    more: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Unique."""
        parts = [self.source, "/".join(self.classes) or "all", self.trap, self.backbone]
        return ", ".join([*parts, *(f"{name}={value}" for name, value in self.more)])


PIXELS, COLOUR = ("pixels",), ("colour",)
CASES = (
    *(
        Case("cifar", pair)
        for pair in (
            ("automobile", "truck"),
            ("bird", "deer"),
            ("ship", "frog"),
            ("deer", "horse"),
            ("airplane", "bird"),
            ("cat", "frog"),
        )
    ),
    Case("cifar", ("automobile", "dog"), backbone="small:8"),
    Case("cifar", ("bird", "cat", "deer", "dog", "frog")),
    Case("mnist", ("0", "1")),
    Case("mnist", ("4", "9")),
    Case("mnist", more=(("train_limit", 500),)),
    Case("pictures", backbone="small:8"),
    Case("pictures", backbone="small:2"),
    Case("cifar", ("automobile", "truck"), "wheels", PIXELS),
    Case("cifar", ("ship", "frog"), "wheels", PIXELS),
    Case("cifar", ("deer", "horse"), "wheels", PIXELS),
    Case("mnist", ("4", "9"), "wheels", PIXELS),
    Case("pictures", (), "wheels", PIXELS, "small:2"),
    Case("pictures", (), "wheels", PIXELS, "small:3"),
    Case("cifar", ("bird", "deer"), "tint", COLOUR),
    Case("cifar", ("automobile", "truck"), "tint", COLOUR),
    Case("pictures", (), "tint", COLOUR, "small:2"),
    Case("cifar", ("airplane", "bird"), "wheels+tint", (*COLOUR, *PIXELS)),
    Case("cifar", ("ship", "frog"), "dominoes:torchvision:MNIST@3,8", PIXELS),
    Case("cifar", ("automobile", "truck"), "dominoes:torchvision:MNIST", PIXELS),
    Case("cifar", ("deer", "horse"), "dominoes:torchvision:MNIST@1,7", PIXELS),
    Case("cifar", ("bird", "deer"), "sticker", PIXELS),
    Case("cifar", ("bird", "cat", "deer", "dog", "frog"), "sticker", PIXELS),
    Case("cifar", ("automobile", "dog"), "sticker", PIXELS, "small:2"),
    Case("mnist", ("3", "8"), "coloured", COLOUR),
    Case("mnist", ("1", "3", "5", "7", "9"), "coloured", COLOUR),
    Case("mnist", ("0", "2", "4", "6", "8"), "coloured", COLOUR, more=(("exceptions", 0.01),)),
    Case("embedded", (), "none", PIXELS, more=(("train_limit", 900),)),
)
PER_CLASS = 1200
RULE = Settings().plugins.stop_rule


def settings(case: Case, options: argparse.Namespace) -> Settings | None:
    """All settings of a case, None where its pictures were not given."""
    sources = {
        "cifar": options.cifar and f"folder:{options.cifar}",
        "mnist": options.mnist and "torchvision:MNIST",
        "pictures": options.pictures and f"folder:{options.pictures}",
        "embedded": "cars-and-poodles",
    }
    if not sources[case.source] or ("MNIST" in case.trap and not options.mnist):
        return None
    data = {"source": sources[case.source], "trap": case.trap, "root": options.mnist, "train_limit": PER_CLASS}
    if case.classes:
        data["classes"] = case.classes
    return Settings.model_validate(
        {
            "seed": options.seed,
            "data": {**data, **dict(case.more)},
            "network": {"backbone": case.backbone},
            "round": {"limit": len(case.right) + 1},
            "plugins": {"controls": (), "dreamer": "none", "stop_rule": options.rule},
        }
    )


def judged(case: Case, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Each round's decision beside the right one.

    A round that was to be kept and was, in whatever representation, is right if its cue is gone afterwards: only the
    representation the case names is counted as that.
    """
    found = []
    for number, entry in enumerate(summary["rounds"]):
        right = case.right[number] if number < len(case.right) else None
        kept = entry["chosen"] if entry["decision"] == "kept" else None
        verdict = ("kept" if kept else "undone") + (" rightly" if kept == right else " wrongly")
        found.append({"round": number + 1, "right": right, "kept": kept, "verdict": verdict, "why": entry["reason"]})
    return found


def accuracies(summary: dict[str, Any]) -> str:
    """Of both networks where the cue is drawn at random, or on the plain test set."""
    tests = summary["test_sets"]
    row = tests.get("random", tests["test"])
    return f"{100 * row['ordinary']['accuracy']:.0f} → {100 * row['learned']['accuracy']:.0f}"


def main() -> None:
    """Run every case, print a row for each decision and the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar")
    parser.add_argument("--mnist")
    parser.add_argument("--pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/stop-rule"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rule", default=RULE)
    parser.add_argument("--plugins-dir", type=Path)
    options = parser.parse_args()
    out, plugins = (
        options.out if options.rule == RULE else options.out / options.rule,
        load_plugins(options.plugins_dir),
    )
    rows: list[dict[str, Any]] = []
    print("| case | round | right | decided | | accuracy | why |\n| --- | --- | --- | --- | --- | --- | --- |")
    for number, case in enumerate(CASES):
        chosen = settings(case, options)
        if chosen is None:
            continue
        folder = out / f"{number:02d}-{options.seed}"
        began = time.monotonic()
        resume = folder if (folder / "settings.json").exists() else None
        summary = learn(chosen, out=None if resume else folder, resume=resume, plugins=plugins).summary()
        for one in judged(case, summary):
            rows.append({"case": case.name, "accuracy": accuracies(summary), **one})
            mark = "✓" if one["verdict"].endswith("rightly") else "✗"
            print(
                f"| {case.name} | {one['round']} | {one['right'] or 'undo'} | {one['kept'] or 'undo'} | {mark} "
                f"| {accuracies(summary)} | {one['why']} |",
                flush=True,
            )
        rows[-1]["seconds"] = time.monotonic() - began
    counts = Counter(row["verdict"] for row in rows)
    cases = {row["case"] for row in rows}
    print("\n" + "\n".join(f"- {verdict}: {counts[verdict]}" for verdict in VERDICTS))
    print(f"- in all: {len(rows)} decisions in {len(cases)} cases")
    (out / "stop-rule.json").write_text(json.dumps({"counts": counts, "rows": rows}, indent=1))


VERDICTS = ("kept rightly", "kept wrongly", "undone rightly", "undone wrongly")


if __name__ == "__main__":
    main()
