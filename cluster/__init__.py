"""Floor 1: settings, object storage, Ray nodes and jobs: what every other floor stands on."""
