"""Asking an implementation the laws, and what that found."""
