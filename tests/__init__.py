"""A package, so that it is found before the `tests` that a dependency installs."""
