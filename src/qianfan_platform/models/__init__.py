"""The registry: models, versions, publishing."""
