"""A local web page: videos in, names out, and the people of the gallery looked after."""
