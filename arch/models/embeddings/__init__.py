"""Tokens to vectors, and what tells positions apart."""
