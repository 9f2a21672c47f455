"""Compares what simulated and real sensors measure, class by class and crop by crop."""
