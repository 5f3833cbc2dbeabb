"""The command line: one file a command; each turns words into one call of the public API and prints.

main         app, Commands: mounts the commands and turns errors into exit codes
options      option, argument, setting, table, console: what several commands share
learn        learn
evaluate     evaluate
predict      predict
adapt        adapt
bench        bench
inspect      inspect
report       report
compare      compare
dream        dream
graph        show, export, check, query, path, diff: questions to a concept graph
graph_views  node_table, brief_table, edge_table, trees, diff_tables: how a concept graph is printed
graph_brief  brief_parts: the strongest concepts of a graph in short
graph_edit   merge, split, forget, rename, annotate, undo, log: edits of a run
config       show_settings, validate
plugins      list_plugins, show_plugin, begin_plugin
"""
