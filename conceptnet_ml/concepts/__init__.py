"""Concepts: what a stage's units do, generalized features and their variants, and what they are built from.

Modules in reading order:

    model          Detector, Variants, Family, Trunk, GeneralizedModel: the networks
    readout        Readout: whose answers a round is about
    scores         FindEvidence, Finding, unit_scores, auroc, map_quality: what units and maps say of the classes
    evidence       MergeEvidence, SplitEvidence, Merged, Analogy, FeatureAnalogy, Translation: records of step 3 and 4
    attribution    attribute, Attribution, path_gradients: from a variant to the units one stage down
    null_models    shuffle_weights, largest_weight, largest_effect: what attribution finds where nothing is known
    analogies      match_units, measure_translation: which units of two classes correspond
"""
