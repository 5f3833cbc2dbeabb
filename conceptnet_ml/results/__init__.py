"""What a run leaves, and what can be done with it later.

report          run_summary, round_record: rounds, families, costs and notes as plain values
graph_builder   build_graph: from the rounds to the concept graph
round_pictures  draw_rounds: what was exchanged in each round, as a picture
answers         compare_answers: where the ordinary and the learned network answer differently
badges          decided, decision_line: what was decided of a round, in the words of its badge
verdict         verdict, headline, accuracy_table, remarks: the answers in short, every figure beside its controls
card            model_card, run_html: a run in short, to be published, and in a notebook
summary         to_text, tables, cost_words, why_nothing, ...: the summary as it is printed
concept_targets  ConceptTargets, ConceptTarget, activation_maps: what a node of the graph is in which network
model_files     save_model, load_model, read_size, replace_network: what model.safetensors and model.json hold
learned_run     LearnedRun: a finished run, opened
looks           looks_of, share_of, looks_words: where what is exchanged lies, and how it looks, in words
explain         explain, OpenedRun: why pictures are answered as they are, from what a run keeps
familiarity     Familiarity, familiarity: how like the images that a network learned from a picture is
explanation     Explanation, ConceptAnswer, Exchange, DonorTrial: what is said of a picture
compare         compare_runs: two runs side by side
compare_states  compare_states, run_states, RunState: two states of one run side by side
comparison      Comparison, ComparedAccuracy, Difference, ComparedRound, ComparedFact: what is said of them
concept_matches  ConceptMatches, ConceptMatch, ConceptInStates, match_concepts, likeness: concepts that two runs share
new_world       NewWorld, own_world, other_world, won_and_lost: adapting to other data, and what that wins and loses
loggers         open_loggers, event_figures, final_figures: a run's figures as loggers get them
editor          Editor: merge, split, forget, rename, annotate, undo on the graph of a finished run
"""
