"""Bocage: land-cover and crop maps from aligned imagery of a territory."""

__version__ = "0.1.0"
