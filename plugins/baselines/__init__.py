"""Rivals trained beside the learner: controls for compute and place, methods from the literature, and the ceiling."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Baseline

_HERE = "conceptnet_plugins.baselines"
_ARGUMENTS = {"clouds_to_cars": "class", "dream_datasets": "count", "amplify": "count"}


@hookimpl
def conceptnet_baselines() -> list[Baseline]:
    """Those that train on views, those that train in a way of their own, and those that see more than these images."""
    views = {
        "random-box": ("random_box", "the learner's swap with a random box in place of the dreamed gate"),
        "longer": ("longer", "ordinary training gone on with"),
        "masktune-long": ("masktune", "trained on without the most salient pixels, at equal compute"),
    }
    fits = {
        "cutmix": ("cutmix", "boxes of other images pasted in, labels mixed by area (arXiv 1905.04899)"),
        "colour-jitter": ("colour_jitter", "random brightness, contrast, saturation and hue"),
        "masktune": ("masktune", "one epoch without the most salient pixels (arXiv 2210.00055)"),
        "deepdream-chain": ("deepdream_chain", "images dreamed toward other classes, A → B → C, pixels free"),
        "shadow": ("shadow", "dreams of a hidden layer by the transposed weights, labels kept (arXiv 1511.05653)"),
        "decoder": ("decoder", "made hard to rebuild the image from, beyond its class's mean"),
        "decoder-literal": ("decoder_literal", "the same in its literal form: loss − 2 · reconstruction error"),
        "feature-sieve": ("feature_sieve", "what an early layer can tell by itself is erased (arXiv 2301.13293)"),
        "just-train-twice": ("just_train_twice", "errors of a short training count more (arXiv 2107.09044)"),
        "lff": ("lff", "learns from what a biased network fails on (arXiv 2007.02561)"),
        "fg-ccdb": ("fg_ccdb", "each class shown what biased networks tell apart equally often (arXiv 2505.06831)"),
        "clouds-to-cars": ("clouds_to_cars", "one class against the others dreamed into it as it learns; NAME:CLASS"),
        "clouds-to-cars-literal": ("clouds_to_cars:literal", "one class against DeepDreams of the others, and no more"),
        "dream-datasets": ("dream_datasets", "a data set dreamed by exchanges, learned, dreamed again; NAME:TIMES"),
        "dream-datasets-turn": ("dream_datasets:turned", "the same by dreams close to the image"),
        "dream-datasets-literal": ("dream_datasets:literal", "the same by DeepDreams alone: A → B → C"),
        "amplify-ungated": (
            "amplify:ungated",
            "many calls answer, a new network learns it; NAME:TIMES (arXiv 1810.08575)",
        ),
        "self-distil": ("amplify:alone", "a new network learns the answers as they are, again and again"),
        "filtered-dreams": ("filtered_dreams", "dreams beside images where they could be images, off where no help"),
        "cycle-gan": ("cycle_gan", "beside images what they exchange with their translation (arXiv 1703.10593)"),
        "cycle-gan-literal": ("cycle_gan:literal", "the same with the whole translation under the image's label"),
        "dac": ("dac", "last layer on what is looked at among other images' rest (arXiv 2402.18919)"),
        "dac-inverted": ("dac_inverted", "dac where what is not looked at makes the class"),
    }
    unlabelled = {
        "d-bat": ("d_bat", "disagrees with the ordinary network on unlabelled target images (arXiv 2202.04414)"),
        "divdis": ("divdis", "two heads that differ on unlabelled target images, one chosen (arXiv 2202.03418)"),
    }
    labelled = {
        "divdis-queried": ("divdis_queried", "divdis whose head four labels of unbiased images choose"),
    }
    unbiased = {
        "last-layer": ("last_layer", "last layer fitted to 8 unbiased examples per class (arXiv 2204.02937)"),
        "unbiased": ("unbiased", "the ceiling: trained on images with random cues"),
    }
    return [
        *(
            Baseline(name=name, api="1", views=f"{_HERE}.{module}:views", summary=summary)
            for name, (module, summary) in views.items()
        ),
        *(
            Baseline(
                name=name,
                api="1",
                fit=f"{_HERE}.{module}" + ("" if ":" in module else ":fit"),
                channels=3 if name == "colour-jitter" else None,
                argument=_ARGUMENTS.get(module.partition(":")[0], ""),
                summary=summary,
            )
            for name, (module, summary) in fits.items()
        ),
        *(
            Baseline(name=name, api="1", fit=f"{_HERE}.{module}:fit", needs=needs, summary=summary)
            for needs, baselines in (
                (("unlabelled",), unlabelled),
                (("unlabelled", "unbiased"), labelled),
                (("unbiased",), unbiased),
            )
            for name, (module, summary) in baselines.items()
        ),
    ]
