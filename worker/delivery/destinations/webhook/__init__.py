"""The destination `webhook`: a signed call to an address, by Standard Webhooks."""
