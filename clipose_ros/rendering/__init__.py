"""Gaussian splatting: images of objects that are made of Gaussians."""
