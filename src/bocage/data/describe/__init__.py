"""`bocage data describe`: what a dataset holds, from its index alone."""
