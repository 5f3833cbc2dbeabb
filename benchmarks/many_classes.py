"""How the learner's cost grows with the number of classes: seconds and seconds per class, on generated signs.

    python benchmarks/many_classes.py --out runs/many-classes

Each class has a sign of its own (``glyphs:N:faint``) and, in training, a sticker of its own. The number of images per
class is the same throughout, so work that is done once an image grows linearly; anything done for every pair of classes
would show. So that every run does the whole work, the rule is overruled: pixels are taken whatever it says, and nothing
is undone; what this does to accuracy is beside the point. The exponent is the slope of log seconds over log classes
from ten classes on. Finished runs are read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from conceptnet_ml import Settings, learn

COUNTS = (2, 5, 10, 20, 50, 100)


def run(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """The summary of one number of classes."""
    folder = options.out / f"{count}-{options.seed}"
    settings = Settings.model_validate(
        {
            "seed": options.seed,
            "data": {"source": f"glyphs:{count}:faint", "trap": "sticker", "train_limit": options.images},
            "round": {"limit": 1, "flips": 0, "interchangeable": -99, "remains": 0, "inverted": 1},
            "plugins": {"controls": (), "dreamer": "none", "representations": ("pixels",)},
        }
    )
    resume = folder if (folder / "settings.json").exists() else None
    return learn(settings, out=None if resume else folder, resume=resume).summary()


def slope(counts: list[int], seconds: list[float]) -> float:
    """Of log seconds over log classes, least squares."""
    x, y = [math.log(count) for count in counts], [math.log(value) for value in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)


def main() -> None:
    """Run every number of classes, print the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/many-classes"))
    parser.add_argument("--images", type=int, default=60, help="training images per class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=max(COUNTS), help="largest number of classes")
    options = parser.parse_args()
    counts = [count for count in COUNTS if count <= options.most]
    print("| classes | ordinary s | probing s | rounds s | learner s per class |")
    print("| --- | --- | --- | --- | --- |")
    rows = []
    for count in counts:
        summary = run(count, options)
        cost = summary["cost"]
        learner = cost["probing_seconds"] + cost["rounds_seconds"]
        rows.append({"classes": count, "learner_seconds": learner, **cost})
        seconds = " | ".join(f"{cost[f'{name}_seconds']:.1f}" for name in ("ordinary", "probing", "rounds"))
        print(f"| {count} | {seconds} | {learner / count:.2f} |", flush=True)
    large = [row for row in rows if row["classes"] >= 10] or rows
    exponents = {
        name: slope([row["classes"] for row in large], [row[f"{name}_seconds"] for row in large])
        for name in ("ordinary", "probing", "rounds", "learner")
        if all(row[f"{name}_seconds"] > 0 for row in large) and len(large) > 1
    }
    print("\nSeconds grow as classes to the power of: " + ", ".join(f"{n} {v:.2f}" for n, v in exponents.items()))
    (options.out / "many-classes.json").write_text(json.dumps({"rows": rows, "exponents": exponents}, indent=1))


if __name__ == "__main__":
    main()
