"""What could be a shortcut in pictures, before anything is trained.

pixel_measures      pixel_measures, thumbnails: brightness, colour, border, … of images as a network sees them
file_facts          file_facts, jpeg_quality: size, format, compression, … of the files, from their headers
property_rule       PropertyRule, fit_rule, stratified_folds: a tiny classifier of one property
property_score      PropertyScore, score_property, score_places: how far a property gets alone, beside shuffled labels
properties          Property, PROPERTIES: each property in words: what it is, what a network might do, what follows
property_results    PropertyResult, pixel_results, file_results: every property of a data set, scored
place_box           with_box, box_of: the box in which the classes differ, where a place tells them
near_duplicates     NearDuplicates, find_duplicates: copies across classes and sets
findings            ShortcutFinding, list_findings: what could be a shortcut, in words
inspection          Inspection, inspect_data: all of it for one data set
inspection_page     write_inspection: an inspection as one HTML file with example pictures
"""
