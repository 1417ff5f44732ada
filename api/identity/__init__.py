"""Who is calling, and which share of the server each client has. Knows neither GraphQL nor SQL."""
