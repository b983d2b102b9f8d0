"""The process that holds llama.cpp; only hpcagent.llm.llamacpp starts it."""
