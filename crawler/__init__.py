"""Floor 2: from a catalogue of titles to posters and a ledger in object storage."""
