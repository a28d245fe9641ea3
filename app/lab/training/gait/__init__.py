"""The trainer of gait networks: the embedded one and those of the field, from our settings file or OpenGait's YAML."""
