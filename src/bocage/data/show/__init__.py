"""`bocage data show`: pictures of a patch, of an ROI, and of the examples of a class."""
