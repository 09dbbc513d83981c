"""The control plane: coordinates rounds, keeps the records, serves the REST API and the dashboard."""
