"""Pictures that show what a part of a network responds to: gradient ascent on the image, the network frozen.

objectives         Objective, ObjectiveBatch, check_objective: what is maximized
parametrizations   Parametrization, Pixels, Fourier, Phases, Gate: what is optimized, from numbers to images
transforms         Transforms, resize_images: random views of the image at every step
recipe             Recipe, recipe_of: everything about how a dream is made; what a dreamer plugin returns
request            DreamRequest, Dream: what is asked of the engine, and what it returns
first_convolution  Stem, is_stem: a faster gradient of the network's first convolution
activations        Layers, probe_maps: the network run only as far as an objective needs
ascent             BatchAscent: the steps of a batch of dreams at one size
cache              DreamCache: dreams that were made before
render             dream, scores, Renderer, RenderSettings, RenderSession: octaves, batches, measuring, cache
zoom               zoom, ZoomSettings: an endless dream, frame by frame
ood                StageStatistics, ActivationReader, furthest: how far a picture is from real images inside a network
judgement          Witness, Judgement, activation_rank: how a dream compares with real images
"""
