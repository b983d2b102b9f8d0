"""Qualification: a language model is put through a fixed set of tasks, and a card tells the result.

A family is a kind of task with fixed cases; a case is one question whose answer a program can
judge. Answers are kept as they come, and the card is made of them alone.
"""
