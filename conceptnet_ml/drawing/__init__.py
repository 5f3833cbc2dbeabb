"""Pictures to look at, drawn with Pillow alone.

pictures    to_image, enlarge, to_png, to_jpeg: from arrays and tensors to images and files
text        font, pieces, text_width, wrap: words in the bundled font, measured
layout      Box, text, framed, beside, below, grid, draw: boxes of words and pictures, the one layout engine
masks       threshold, masked, gate_overlay: what is laid over an image
sheets      probe_sheet, SwapExample: what the dream probe swapped
cards       card_sheet, Card, dream_card, sprite: dreams with what is known of them
node_sheet  node_strip, Example: all pictures of one node of the graph
animation   animation, check_animation: frames as one WebP or GIF
"""
