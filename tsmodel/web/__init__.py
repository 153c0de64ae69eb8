"""A page to look at data, and the interface of HTTP that it uses: `tsmodel ui`.

The page is plain HTML, CSS and JavaScript in `static/`, sent as it lies there. Only `static/uplot/` is not ours.
"""
