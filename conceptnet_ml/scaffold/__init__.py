"""New plugins to begin from: one working template for each kind, as a file or as a package with its test.

plugin_files   PluginFiles, new_plugin, usage: the files of a new plugin, and how it is chosen
"""
