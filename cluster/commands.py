"""The cluster's commands, for the front door to compose."""
