"""Dreams of whole networks, in a folder for the command ``dream`` and in a run's album.

sources          open_network, real_images, draw_reference_images: whose dreams, and the real images beside them
requests         GalleryRequest, plan_dreams, PlannedDream, DreamResult: what is asked for, and each dream of it
pipeline         render_all, compare_dreams, draw_nodes: what a gallery and the album share
album            album: every node of a run
gallery          gallery: the folder of the command ``dream``
"""
