"""One architecture a file: a module here is found by its name, and gives `ARCHITECTURE`."""
