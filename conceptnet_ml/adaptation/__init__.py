"""Adapting a model to a new world by a few labelled examples.

Modules in reading order:

    logistic_regression   fit_logistic, LogisticProblem: the one fit of linear layers
    model_averaging       average_models, crossfit, ModelOutputs, FittedWeights: what a few examples say
    adapted_model         AdaptedModel, adapt, model_outputs, last_linear: the model that is fitted
    curves                Adapter, curve, draw_shots: accuracy after so many examples per class
"""
