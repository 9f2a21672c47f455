"""What is minimised: losses that respect ignored pixels, unscored classes and missing sensors."""

from bocage.losses.by_class import ClassLosses
from bocage.losses.composite import CompositeLoss
from bocage.losses.segmentation import LossConfig, SegmentationLoss

__all__ = ["ClassLosses", "CompositeLoss", "LossConfig", "SegmentationLoss"]
