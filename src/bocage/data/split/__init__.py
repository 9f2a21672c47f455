"""Splits of one's own, without leakage: whole ROIs or domains held out, none beside another's."""
