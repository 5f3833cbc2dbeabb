"""Networks: built from the settings, cut into stages, described by directions, trained.

stages          Stage, Cut, Route, choose_stages: where a network can be cut
fx_route        FxRoute: parts of a network by its torch.fx graph
hook_route      HookRoute, hooked: parts of a network by forward hooks, where it cannot be traced
staged_network  StagedNetwork: a classifier that runs up to, on from and between its stages
basis           BasisNetwork, Directions: directions of a stage's maps in place of its units
build           build_network, build_untrained, load_users_module, read_weights: from the settings to a network
answers         doubtful_answers, steady_answers: what is tried of a network's answers before it is trained
export          export_network, export_program, export_onnx: a network as one file that runs without this package
modes           eval_mode, frozen: the modes of networks during a block
training        train, TrainingJob, predict_set: the one training loop
joint_norms     joint_norms, check_norms: batch norms over the batch of several processes
batch_norms     estimate_batch_norms, settle_batch_norms: running statistics, also after a training too short for them
"""
