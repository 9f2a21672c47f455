"""`bocage data verify`: what is wrong with a dataset on disk, patch by patch and as a whole.

`run` is the whole check; `patch` is what its processes import, and therefore imports little.
"""
