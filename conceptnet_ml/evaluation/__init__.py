"""What a learned network is worth: accuracy, baselines, and what can be read off its units.

accuracy      accuracies, answer_set, evaluate_run, recorded_answers, disagreement: right answers; how often two differ
baselines     train_baselines, check_baselines, lacking, BaselineContext: other methods, trained at the same cost
linear_probe  decodability, cue_set: what a linear probe reads off each stage, the class or the cue
localization  compare_with_masks, part_cells, fit_to_masks: a detector beside the true masks of parts
witness       witness_of, fresh_network: the independently trained network that judges dreams
"""
