"""The module that componentize-py builds the component from."""

import nephometer.export_http
from publisher import Poster

Component, Publish = nephometer.export_http.publisher(Poster)
