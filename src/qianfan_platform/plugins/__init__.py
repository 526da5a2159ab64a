"""A model with tools: knowledge bases, HTTP services described by OpenAPI, a clock, a calculator."""
