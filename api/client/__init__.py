"""The command line's own client: it speaks to a server over HTTP, as any frontend does.

Imports nothing else of this project, so that what it measures is what every client sees.
"""
