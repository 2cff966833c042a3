"""Learned objects: what they are, how they are made of reference views, and the library that keeps them."""
