"""Measure restored images: metrics by id, pairs of files, bootstrap intervals, ratings of people."""
