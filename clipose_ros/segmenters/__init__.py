"""Segmenters: a frame in, detections out, where no masks come from elsewhere."""
