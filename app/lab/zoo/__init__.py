"""Training of the gait networks of the field, as OpenGait's YAML files describe it."""
