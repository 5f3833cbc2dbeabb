"""Pictures to look at, drawn with Pillow alone.

pictures    to_image, enlarge, to_png, to_jpeg: from arrays and tensors to images and files
text        font, pieces, text_width, wrap: words in the bundled font, measured
layout      Box, text, framed, beside, below, grid, draw: boxes of words and pictures, the one layout engine
masks       threshold, masked, gate_overlay: what is laid over an image
sheets      card_sheet, dream_card, sprite, probe_sheet: dreams with what is known of them; what the dream probe swapped
node_sheet  node_strip, Example: all pictures of one node of the graph
cutting     cut_sheet, Cutting: the pictures of a sheet by themselves again, with their words
notebook    data_uri, picture_html, table_html: pictures and tables as HTML
animation   animation, check_animation: frames as one WebP or GIF
"""
