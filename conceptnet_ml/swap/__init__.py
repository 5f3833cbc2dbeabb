"""Swapping: an image takes over from another what a gate lets through; what becomes of the answers is measured.

Modules in reading order:

    representation       Codec, RegionalCodec, open_cells: a representation ready to swap with; soft gates made hard
    pairs                Donors, pairs, hosts_and_donors: which image meets which, batch by batch
    views                Swap, Views: training images under all kept swaps
    probe                Prober, margin_over_runner_up: the gate, found by gradient descent, that changes the answer
    gate_predictor       GateFeatures, GatePredictor: gates of all images, learned from some that were dreamt
    sureness             Sureness, Redraws: what other draws of the held-out images would have decided
    hits                 Hits: what a measurement counts, image by image
    interchangeability   measure_swap, SwapMeasurement: φ and ι
    stop_rule            Decision, decide_round, how_sure, residual_accuracy: whether a swap is kept
"""
