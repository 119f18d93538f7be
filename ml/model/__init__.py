"""A model version: its artifact, network, predictor, input check, calibration, heatmaps and the input transforms."""
