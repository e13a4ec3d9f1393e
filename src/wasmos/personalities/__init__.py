"""Personalities: foreign interfaces, turned into messages by adapters. One folder for each."""
