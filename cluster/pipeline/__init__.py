"""The pipeline: from a catalogue to a promoted model as one run that can be cut off anywhere and goes on."""
