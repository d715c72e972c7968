"""Runs ordinary, unmodified code under a scheduler that decides everything: order, time, deaths, errors."""
