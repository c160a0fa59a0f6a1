"""Stores: what makes a batch durable. Used by runtime/ and testing/ only."""
