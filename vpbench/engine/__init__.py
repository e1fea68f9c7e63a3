"""Evaluation: units, predictions, measurements, publication."""
