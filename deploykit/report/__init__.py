"""Results as people and programs read them: rows, the table on stdout, one strict JSON object."""
