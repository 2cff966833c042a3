"""Segmenters: a frame in, detections out, for frames that come without masks."""
