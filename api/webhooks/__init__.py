"""Webhooks: sends events to a receiver of the shop over HTTP, signed. Knows neither the database nor GraphQL."""
