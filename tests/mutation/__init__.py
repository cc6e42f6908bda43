"""The mutation gate: bugs sown into the code one at a time, each of which a named test must catch."""
