"""Local language models: engines, prompts, checked answers."""
