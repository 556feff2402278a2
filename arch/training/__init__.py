"""A run as a pure function of (configuration, seed): programs, groups, evaluation, costs."""
