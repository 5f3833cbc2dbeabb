"""The five steps. :mod:`conceptnet_ml.learner` calls them in order; a step never calls another one.

records        Site, ProbeResult, Outcome, Round, Learned, ...: what steps are told and return
context        Context: settings, data, device, and the run's memory of finished steps (once)
ordinary       train_ordinary, wilson: the network that the steps start from, and whether it has learned anything
find           find: step 1, the features among a stage's units that a readout's answers rest on
probe          probe, choose_partners: step 2, φ, ι and the decision, one representation after another
exceptions     read_exceptions, after_exceptions: part of step 2, a network that reads a cue with exceptions, and
               nothing of the object, and what is not exchanged after it
channel_probe  probe_channels, moves_channels: part of step 2 below the top stage, inside the network
generalize     generalize, train_views, round_views, merge, train_refused: step 3, closure, views, training, merging
closure        close, check_closure: part of step 3, does a fresh network still find it in the views
target         weigh_target: part of step 3, what unlabelled pictures of the new world say of a refused swap
purify         purify, rests_outside, turn, fixed_places, train_cue: part of step 3, gates that hold the cue alone, all
               of it, and which side of them is exchanged
signs          weigh_sides, places_score, sure_of_places: what parts of step 3 go by, image by image, and how sure it is
analogies      find_analogies, translate, unit_moves: part of step 3, which unit plays the part of which
specialize     specialize: step 4, one variant per class
descend        descend, leaf, edges_to: step 5, what a readout is built from, one stage down
gates          codecs, gates, swap_of, probe_representation, own_places, regions: what steps 2 and 3 share
family         split, accuracy, refit: what steps 3 and 4 share
stage_basis    describe, stage_basis: directions of a stage in place of its units
outline        RunOutline: the steps in plain words, and about how much is still to come
override_rule  OverrideRule: the user's word on a round, wherever the rule decides
"""
