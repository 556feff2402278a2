"""From lines of results to tables and figures."""
