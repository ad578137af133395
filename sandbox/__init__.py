"""A local stand-in for model vendors, speaking OpenAI's Chat Completions wire format."""
