"""Edits of a finished run: planned on the graph, applied to it, logged and taken back.

plan       EditPlan, plan_merge, plan_split, plan_forget, ...: an edit, checked before anything changes
delta      Delta: the difference an edit makes to a graph
history    EditHistory: the log of a run's edits, and the results before each
by_hand    decisions_by_hand: decisions that were changed in graph.json with a text editor
"""
