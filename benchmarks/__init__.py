"""Measured claims: each row is a ratio against a plainly written baseline in the same run."""
