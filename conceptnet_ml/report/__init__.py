"""One page that explains a run to someone who has nothing else of it: report.html.

page          write_page, served_page, bar_content, graph_content: reads a run folder and writes the page
rounds        round_cards: what was exchanged in each round, why it was kept or refused, how sure that is
concepts      concept_cards, node_figures: what was found, by effect, with dreams and real images
graph_layout  arrange, crossings, pack_columns, route: where the graph's nodes stand so that edges cross little
graph_view    GraphView, shares_before: the strongest nodes and edges as a drawing, and all of them for graph.js
records       curves, changed_settings, again, next_steps: losses, and all to repeat the run and go on
comparison_page  write_comparison: two runs side by side, as a page
steering      Order, parse_order, suggested_orders, round_orders: what may be decided on a page, and its commands
commands      Commands: commands of the program, one at a time, and what they say
server        serve_page, PageServer: the page on this machine alone, with buttons that steer the run
explanation_page  write_explanation: why a picture is answered as it is, as a page
figures       Figures: the run's pictures, cut out of their sheets and put into the page
templates     templates: HTML with these styles, everything from outside escaped; other pages use it, too
"""
