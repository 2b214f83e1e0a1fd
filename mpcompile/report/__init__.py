"""Pictures of what models make."""
