"""The words both sides speak: routes, enums, errors, bodies, signing, event streams, lifecycles.

Nothing here imports another part of the project, and nothing heavier than `typing_extensions`.
"""
