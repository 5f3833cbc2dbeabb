"""Edits of a finished run: planned on the graph, applied to it, logged and taken back.

plan       EditPlan, plan_merge, plan_split, plan_forget, ...: an edit, checked before anything changes
delta      Delta: the difference an edit makes to a graph
history    EditHistory, decisions_by_hand: the log of a run's edits, the results before each; changes by hand
"""
