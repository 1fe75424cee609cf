"""Distributions and rules that Pyro lacks."""

from .family import Family

__all__ = ["Family"]
