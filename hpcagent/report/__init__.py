"""From a journal to a terminal, Markdown, HTML and figures."""
