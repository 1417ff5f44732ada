"""The client of the command line. It sends requests to a server over HTTP, as any frontend does.

It imports no other part of this project, so that it measures what every client sees.
"""
