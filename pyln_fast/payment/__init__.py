"""Asking for payments and paying."""
