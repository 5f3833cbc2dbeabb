"""The concept graph of a run: which concepts a network's decisions rest on, and what these are built from.

schema          Node, Edge, Header, NODES, EDGES, node_id, ...: the records of nodes and edges
fields          GraphRecord, Text, Number, Share, ...: types of their values
store           GraphStore: a graph to be read, kept in networkx
invariants      problems, node_problems, edge_problems, clashes, all_clashes: the rules a graph keeps
queries         Conditions, select_nodes, resolve_node, strongest_chains, strength, influence, ...: questions
naming          called, listed: what a node is called where people read of it
diff            diff_graphs, GraphDiff, Changes, ChangedRecord, Fields: the differences between two graphs
concept_graph   ConceptGraph, loads, parse_graph, build: all of it, with checked reading and writing
"""
