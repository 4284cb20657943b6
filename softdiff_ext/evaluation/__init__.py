"""Evaluation: how good the images of a run are, by distances between features, bits per dimension and nearest neighbours."""
