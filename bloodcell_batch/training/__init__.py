"""Training, calibration and evaluation of the classifier."""
