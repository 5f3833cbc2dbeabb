"""How files are written and read: whole, checked, by one process at a time. The ground floor of the package.

files         write_atomic, read_json, pretty, disk_errors, ...: whole files, JSON, links
hashing       sha256, digest, fingerprint, seed_of, tensor_digest: the one place that hashes
lock          FolderLock: one writing process in a folder
tensors       save_tree, load_tree, Checkpoint, pack, ...: values and tensors, without pickle
run_folder    Run: everything that a run leaves behind
follower_run  FollowerRun: the same for a process that does not write it
"""
