"""Data sets: images with labels, which of them are used, and the traps planted in them.

images        ImageSet, StreamedImages, Groups: images in memory, or read when they are used; groups of them
arrays        read_array: images of any number of channels in .npy files
files         read_image, opened_picture, check_files: picture files as tensors
dataset       Data: training images, test sets, and the other worlds of a trap
ground_truth  Truth, PlantedFeature: what the maker of a data set planted in it
load          load_data, unlabelled: from the settings to a data set; pictures without labels
class_subset  select_classes: which classes are used
sampling      limit_per_class, split_by_class, split_holdout, shuffled_by_class: which images are used
traps         lay_traps, TrapGround: cues planted in the images, and the test sets that show who relies on them
"""
