"""Beneš blocks of Shuffle-Exchange networks."""
