"""What is minimised: losses that respect ignored pixels, unscored classes and missing sensors."""

from bocage.losses.composite import CompositeLoss
from bocage.losses.segmentation import LossConfig, SegmentationLoss

__all__ = ["CompositeLoss", "LossConfig", "SegmentationLoss"]
