"""Capture: tensor functions as graphs that are traced once, compiled where it pays, and replayed."""
