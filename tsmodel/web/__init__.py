"""`tsmodel ui`: a page that shows data, and the HTTP API behind it.

The page is plain HTML, CSS and JavaScript in `static/`, served as it is. `static/uplot/` is vendored.
"""
